#!/bin/bash
# Proves that create --complete, killed while it copies, over a deactivation too, is
# gone on with by the same command, and that the image is of the first instant.
# timeout: 300
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
cli_devices 128 128
make_ntfs "$origin"
shadowctl attach "$origin" "$area" >/dev/null
mount_ntfs "/dev/mapper/$vol" m
head -c 60000000 /dev/urandom >m/file
want=$(sha256sum <m/file)
sync -f m

# killed: begin, and kill it once it has begun to copy; false if it was faster
killed()
{
	local pid tries size

	size=$(stat -c %b "$PWD/image" 2>/dev/null || echo 0)
	shadowctl -q create --complete "$PWD/image" m >/dev/null 2>&1 &
	pid=$!
	for ((tries = 0; tries < 500; tries++)); do
		[ "$(stat -c %b "$PWD/image" 2>/dev/null || echo 0)" -le $((size + 2000)) ] || break
		sleep 0.02
	done
	kill -KILL $pid 2>/dev/null || return 1
	! wait $pid
}

kills=0
killed && kills=1
head -c 60000000 /dev/urandom >m/file
[ $kills -eq 0 ] || expect 1 "$(json 'len(j["copies"])' list)" "copies"
umount m
shadowctl deactivate --all
shadowctl activate >/dev/null
mount_ntfs "/dev/mapper/$vol" m
[ $kills -eq 0 ] || ! killed || kills=2
echo "killed $kills times"
[ -z "$(shadowctl list)" ] || shadowctl create --complete "$PWD/image" m >/dev/null
expect "" "$(shadowctl list)" "copies left"
umount m
shadowctl deactivate --all
ntfs-3g -o ro "$PWD/image" m
expect "$want" "$(sha256sum <m/file)" "the file in the image"
umount m
[ $kills -gt 0 ] || fail "it was never killed in time"
