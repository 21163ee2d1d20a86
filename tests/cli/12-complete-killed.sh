#!/bin/bash
# Proves that create --complete, killed while it copies, over a deactivation too, is
# gone on with by the same command, and that the image is of the first instant; also
# when its target fails meanwhile, goes away, or fails at the very end, when all is
# written but not known to be durable: then it is an unfinished copy again.
# (Killed at any time: tests/unit/complete.)
# dmesg: I/O error
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

# fails STEP COMMAND...: there, that is done to the target; then it ends
fails()
{
	local pid rc=0

	SHADOWCTL_TEST_STOP=$1 shadowctl -q create --complete "$PWD/node" m >/dev/null 2>err &
	pid=$!
	wait_for stopped $pid
	"${@:2}"
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

# fail_request N: of those that write, from now on
fail_request()
{
	dmsetup message "$target" 0 writes "$1" 1
}

# unfinished: that is what the medium says, and the shadow copy is not left for others
unfinished()
{
	blockdev --flushbufs "$disk"
	expect "dm-shadow copy" "$(head -c 14 "$disk")" "what the target begins with"
	exits 5 shadowctl create --force --complete "$origin" m
	says 'is in use'
	expect 1 "$(shadowctl list | grep -c "^$vol@")" "copies after the next call"
}

need_target failnth
disk 32
disk=$DEV
table="0 65536 failnth $disk"
target=target$$
dm_create $target "$table"
ln -s /dev/mapper/$target node
fails copying fail_target
dm_reload $target "$table"
fails copying lose_target
dm_reload $target "$table"
ln -s /dev/mapper/$target node
# The boot sector in the state's place, then the flush
for request in 1 2; do
	fails finishing fail_request $request
	unfinished
done
# Both, and the state after them: the target is gone
fails finishing fail_target
dm_reload $target "$table"
unfinished
shadowctl create --complete "$PWD/node" m >/dev/null
expect "" "$(shadowctl list)" "copies left after errors"
umount m
shadowctl deactivate --all
ntfs-3g -o ro "$PWD/image" m
expect "$want" "$(sha256sum <m/file)" "the file in the image"
umount m
