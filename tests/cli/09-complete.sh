#!/bin/bash
# Proves that create --complete makes an image that equals the shadow copy of the
# same instant, while the volume is written to, and that the shadow copy is gone
# afterwards.  (Killed and resumed: tests/unit/complete.)
# timeout: 300
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
cli_devices 32 32
make_ntfs "$origin"
shadowctl attach "$origin" "$area" >/dev/null
mount_ntfs "/dev/mapper/$vol" m
head -c 5000000 /dev/urandom >m/file
want=$(sha256sum <m/file)
expect "$PWD/image" "$(shadowctl create --complete "$PWD/image" m)" "what it prints"
head -c 5000000 /dev/urandom >m/file
expect "" "$(shadowctl list)" "copies left"
umount m
shadowctl deactivate --all
ntfs-3g -o ro "$PWD/image" m
expect "$want" "$(sha256sum <m/file)" "the file in the image"
umount m

# A target with something on it
shadowctl activate >/dev/null
disk 32
make_ntfs "$DEV"
exits 5 shadowctl create --complete "$DEV" "$vol"
expect 1 "$(json 'len(j["copies"])' list)" "the copy is kept"
exits 0 shadowctl delete --force --all "$vol"
exits 0 shadowctl create --complete "$DEV" --force "$vol"
expect "" "$(shadowctl list)" "copies left"
ntfs-3g -o ro "$DEV" m
[ -f m/file ] || fail "no file on the device"
umount m
