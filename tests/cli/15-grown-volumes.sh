#!/bin/bash
# Proves that the size a volume has grown by is taken by resize and by activate;
# that while a merge is under way it is not, and the volume stays in use and can
# be activated; that a volume that does not resume after a hold is not left alone with
# that, nor hindered by a table that somebody left; and that a power cut does not make
# it smaller, for a merge above all.
# dmesg: checksum|merging|stays as it is|left out|preresume
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
need_module loop
truncate -s 8M o
origin=$(losetup --show -f o)
cleanup losetup -d "$origin"
disk 16; area=$DEV
cleanup cli_cleanup
vol=shadow-${origin#/dev/}
exits 0 shadowctl attach "$origin" "$area"

# grow MIB: the raw volume
grow()
{
	truncate -s "$1M" o
	losetup -c "$origin"
}

# has MIB: the volume has that size, and takes writes
has()
{
	expect $(($1 << 11)) "$(sectors "/dev/mapper/$vol")" "sectors of the volume"
	! suspended "$vol" || fail "the volume is suspended"
	timeout 5 dd if=/dev/zero of="/dev/mapper/$vol" bs=4096 count=1 oflag=direct status=none
}

# recorded MIB: what a power cut would leave says that size
recorded()
{
	dd if="$area" of=image bs=1M iflag=direct status=none
	expect $(($1 << 11)) "$(shadowctl -o json dump image | jq \
		'[.superblock_a, .superblock_b] | max_by(.sequence).origin_sectors')" \
		"sectors in the superblock"
}

# load MIB: as its next table
load()
{
	dmsetup load "$vol" --table "0 $(($1 << 11)) shadow-origin $origin $area"
}

# stop_at STEP COMMAND...
stop_at()
{
	SHADOWCTL_TEST_STOP=$1 shadowctl "${@:2}" 2>err &
	pid=$!
	wait_for stopped $pid
}

# ends STATUS: what was stopped, and goes on, with that
ends()
{
	local rc=0

	wait $pid || rc=$?
	expect "$1" $rc "exit status: $(cat err)"
}

grow 9
exits 0 shadowctl storage resize "$vol"
has 9
recorded 9
grow 10
stop_at loaded storage resize "$vol"
kill -9 $pid
wait $pid 2>/dev/null || true
has 9
exits 0 shadowctl activate
has 10
recorded 10

# take SEQ: a copy, whose merge will not end by itself
take()
{
	local block

	stomp fill "/dev/mapper/$vol" --seq "$1" --count 1600
	copy=$(shadowctl create "$vol")
	stomp fill "/dev/mapper/$vol" --seq $(($1 + 1)) --count 1600
	block=$(stomp where "$area" 800 --seq "$1")
	blocks damage "$area" "$block" 200
}

take 1
# A merge begins, and the volume does not resume until it has another table
grow 11
stop_at suspended merge --force --no-wait "$copy"
load 11
tried()
{
	[ "$(sectors "/dev/mapper/$vol")" -eq $((11 << 11)) ] && suspended "$vol"
}
kill -CONT $pid
wait_for tried
load 10
ends 0
has 10

# It stands still
exits 0 shadowctl activate
says 'when the merge is over'
has 10
exits 5 shadowctl storage resize "$vol"
says 'while it is being merged'
has 10
exits 0 shadowctl deactivate "$vol"
exits 0 shadowctl activate
says 'when the merge is over'
has 10
exits 6 shadowctl merge --skip-damaged --force "$vol"

# Somebody is faster, and the new table is refused when it is live
take 3
stop_at loaded storage resize "$vol"
dmsetup suspend "$vol"
dmsetup message "$vol" 0 merge "${copy#*@}"
kill -CONT $pid
ends 5
has 10
exits 6 shadowctl merge --skip-damaged --force "$vol"
exits 0 shadowctl activate
has 11

# A table that was left behind is of no more use
copy=$(shadowctl create "$vol")
grow 12
stop_at loaded storage resize "$vol"
kill -9 $pid
wait $pid 2>/dev/null || true
exits 0 shadowctl merge --force "$copy"
has 11
exits 0 shadowctl deactivate "$vol"
exits 0 shadowctl activate
has 12
recorded 12

# The power goes before the larger size was recorded
grow 13
stop_at grown storage resize "$vol"
kill -9 $pid
wait $pid 2>/dev/null || true
take 5
exits 0 shadowctl merge --force --no-wait "$copy"
recorded 12
exits 0 shadowctl deactivate "$vol"
dd if=image of="$area" bs=1M oflag=direct status=none
# The copy that is being merged tells it
exits 0 shadowctl activate
has 13
exits 0 shadowctl deactivate "$vol"
recorded 13
