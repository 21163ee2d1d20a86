#!/bin/bash
# Proves that create --complete makes an image that equals the shadow copy of the
# same instant, while the volume is written to, and that the shadow copy is gone
# afterwards; that a target which is of no use costs nothing, nor what it holds, even
# the volume itself; and that a copy which no target needs does not stay, unless it is
# locked.  (Killed and resumed: 12, tests/unit/complete.)
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
exits 1 shadowctl create --complete "$PWD/m/image" m
says 'lies on'
expect "$PWD/image" "$(shadowctl create --complete "$PWD/image" m)" "what it prints"
head -c 5000000 /dev/urandom >m/file
expect "" "$(shadowctl list)" "copies left"
umount m
shadowctl deactivate --all
ntfs-3g -o ro "$PWD/image" m
expect "$want" "$(sha256sum <m/file)" "the file in the image"
umount m

# Targets that are of no use: no copy is taken.  copies: ids of those that there are
copies()
{
	json '[c["id"] for c in j["copies"]]' list
}

shadowctl activate >/dev/null
disk 32
make_ntfs "$DEV"
exits 5 shadowctl create --complete "$DEV" "$vol"
says "$DEV: ntfs; no copy was taken"
exits 5 shadowctl create --complete "$PWD/image" "$vol"
exits 4 shadowctl create --complete "$PWD/nowhere/image" "$vol"
exits 5 shadowctl create --force --complete "$origin" "$vol"
says 'is in use'
exits 1 shadowctl create --force --complete "/dev/mapper/$vol" "$vol"
says 'lies on'
exits 5 shadowctl create --force --complete \
	"$(<"/sys/block/${origin#/dev/}/loop/backing_file")" "$vol"
says "is in use by $origin"
exits 0 shadowctl create "$vol"		# 2: none before
expect "[2]" "$(copies)" "copies"

# A file system that has no files so large: seen only when the copy has been taken
(trap '' XFSZ; ulimit -f 8; exits 7 shadowctl create --complete "$PWD/large" "$vol")
expect "[2]" "$(copies)" "copies after a failure"

# killed STEP TARGET
killed()
{
	SHADOWCTL_TEST_STOP=$1 shadowctl create --complete "$2" "$vol" >/dev/null 2>&1 &
	wait_for stopped $!
	kill -9 $!
	wait $! 2>/dev/null || true
}

# Before the target has its state, and when it is done: the next call clears up
killed resumed "$PWD/other"
expect "[2, 4]" "$(copies)" "copies after a kill"
exits 0 shadowctl create --complete "$PWD/other" "$vol"
says "$vol@4: left by"
expect "[2]" "$(copies)" "copies after the next call"
killed copied "$PWD/third"
expect "[2, 6]" "$(copies)" "copies after a kill at the end"
exits 0 shadowctl lock "$vol@6" +1h
exits 5 shadowctl create --complete "$PWD/third" "$vol"
expect "[2, 6]" "$(copies)" "copies, one locked"
[ -b "/dev/mapper/$vol-shadow-6" ] || fail "the locked copy has no device any more"
exits 0 shadowctl unlock "$vol@6"
exits 5 shadowctl create --complete "$PWD/third" "$vol"
says 'no copy was taken'
expect "[2]" "$(copies)" "copies after the next call"
shadowctl delete --force "$vol@2"

# Full half way: the copy stays, and is gone on with by the same command alone
mkdir small
mount -t tmpfs -o size=256K none small
cleanup umount small
exits 7 shadowctl create --complete "$PWD/small/image" "$vol"
says "$vol@7 is kept; the same command goes on"
exits 7 shadowctl create --complete "$PWD/small/image" "$vol"
says "going on with $vol@7"
expect "[7]" "$(copies)" "copies"
target=$DEV
disk 8; o2=$DEV
disk 8
shadowctl attach "$o2" "$DEV" --name other >/dev/null
exits 5 shadowctl create --complete "$PWD/small/image" other
says "unfinished copy of $vol@7"
shadowctl detach other
shadowctl delete --force "$vol@7"
exits 5 shadowctl create --complete "$PWD/small/image" "$vol"
says 'shadow copy is gone'
dmsetup suspend "$vol"
exits 5 shadowctl create --force --complete "$PWD/small/image" "$vol"
dmsetup resume "$vol"
exits 5 shadowctl create --complete "$PWD/small/image" "$vol"
says 'shadow copy is gone'
DEV=$target

# JSON: a line for each event, the last is the result
shadowctl -o json create --complete "$DEV" --force "$vol" >events
expect "complete $vol 0" "$(python3 -c '
import json
j = [json.loads(line) for line in open("events")][-1]
print(j["event"], j["volume"], j["resumed"])')" "the last event"
expect "" "$(shadowctl list)" "copies left"
ntfs-3g -o ro "$DEV" m
[ -f m/file ] || fail "no file on the device"
umount m
