#!/bin/bash
# Proves that create --complete, killed while it copies, over a deactivation too, is
# gone on with by the same command, and that the image is of the first instant; also
# when its target fails meanwhile or goes away.
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

# fails COMMAND...: when it has begun, that is done to the target; then it ends
fails()
{
	local pid rc=0

	SHADOWCTL_TEST_STOP=copying shadowctl -q create --complete "$PWD/node" m >/dev/null 2>err &
	pid=$!
	wait_for stopped $pid
	"$@"
	while kill -CONT $pid 2>/dev/null; do
		sleep 0.02
	done
	wait $pid || rc=$?
	[ $rc -ne 0 ] || fail "it did not fail"
	expect 1 "$(shadowctl list | grep -c "^$vol@")" "copies"
	grep -q 'is kept' err || fail "it said: $(cat err)"
}

fail_target()
{
	dm_reload "$target" "0 65536 error"
	echo 1 >/proc/sys/vm/drop_caches
}

lose_target()
{
	fail_target
	rm node
}

disk 32
table="0 65536 linear $DEV 0"
target=target$$
dm_create $target "$table"
ln -s /dev/mapper/$target node
fails fail_target
dm_reload $target "$table"
fails lose_target
dm_reload $target "$table"
ln -s /dev/mapper/$target node
shadowctl create --complete "$PWD/node" m >/dev/null
expect "" "$(shadowctl list)" "copies left after errors"
umount m
shadowctl deactivate --all
ntfs-3g -o ro "$PWD/image" m
expect "$want" "$(sha256sum <m/file)" "the file in the image"
umount m
