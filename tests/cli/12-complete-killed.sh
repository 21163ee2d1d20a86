#!/bin/bash
# Proves that create --complete, killed while it copies, over a deactivation too, is
# gone on with by the same command, and that the image is of the first instant.
# (Killed at any time: tests/unit/complete.)
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
cli_devices 32 32
make_ntfs "$origin"
shadowctl attach "$origin" "$area" >/dev/null
mount_ntfs "/dev/mapper/$vol" m
head -c 6000000 /dev/urandom >m/file
want=$(sha256sum <m/file)
sync -f m

# killed: once it has begun to copy; the shadow copy stays
killed()
{
	local pid

	SHADOWCTL_TEST_STOP=copying shadowctl -q create --complete "$PWD/image" m >/dev/null 2>&1 &
	pid=$!
	wait_for stopped $pid
	kill -KILL $pid
	! wait $pid 2>/dev/null || fail "it was over before it was killed"
	expect 1 "$(shadowctl list | grep -c "^$vol@")" "copies"
}

killed
head -c 6000000 /dev/urandom >m/file
umount m
shadowctl deactivate --all
shadowctl activate >/dev/null
mount_ntfs "/dev/mapper/$vol" m
killed
shadowctl create --complete "$PWD/image" m >/dev/null
expect "" "$(shadowctl list)" "copies left"
umount m
shadowctl deactivate --all
ntfs-3g -o ro "$PWD/image" m
expect "$want" "$(sha256sum <m/file)" "the file in the image"
umount m
