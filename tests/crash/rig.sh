# shellcheck shell=bash
# shellcheck disable=SC2034 # set here for the tests
# Power cuts; sourced by the tests beside it.
#
# Origin and diff area are two slices of one dm-recorder device, so that one
# log has the order of events across both.  stomp leaves marks in it and a
# history beside it; cuts replays the log up to many places and compares.
. "$(dirname "${BASH_SOURCE[0]}")/../shadow.sh"
need_target recorder

# slices NODE DEVICE SECTORS...: linear nodes NODE1, NODE2... one after another
slices()
{
	local name=$1 device=$2 at=0 n=0 size

	shift 2
	for size; do
		n=$((n + 1))
		dm_create "$name$n" "0 $size linear $device $at"
		at=$((at + size))
	done
}

# record CACHE ORIGIN-KIB AREA-KIB FORMAT-OPTIONS STOMP-OPTION...: a run of stomp; sets
# log, and origin and area, the scratch devices for cuts.  CACHE tells how a write is made
# durable, flush or fua: the saver has another way for each.
record()
{
	local cache=$1 o=$(($2 * 2)) a=$(($3 * 2)) options=$4 backing queue

	shift 4
	disk $(((o + a + 2047) / 2048))
	backing=$DEV
	disk 512
	log=$DEV
	dm_create logged "0 $((o + a)) recorder $backing $log ${cache#flush}"
	queue=/sys/dev/block/$(mountpoint -x "$DEV")/queue
	expect "write back" "$(cat "$queue/write_cache")" "cache"
	expect "$([ "$cache" = fua ] && echo 1 || echo 0)" "$(cat "$queue/fua")" "FUA"
	slices slice /dev/mapper/logged $o $a
	# shellcheck disable=SC2086
	format_area /dev/mapper/slice2 /dev/mapper/slice1 $options
	stomp run /dev/mapper/slice1 /dev/mapper/slice2 --seed "$SEED" --log logged \
		--history history "$@"
	dm_remove slice1
	dm_remove slice2
	dm_remove logged
	echo "log: $(logreplay list "$log" | grep -c begin) writes and flushes," \
		"$(logreplay cuts "$log" | wc -l) places where something becomes durable"
	disk $(((o + 2047) / 2048))
	slices scratch "$DEV" $o
	origin=/dev/mapper/scratch1
	disk $(((a + 2047) / 2048))
	dm_create scratch2 "0 $a linear $DEV 0"
	area=/dev/mapper/scratch2
}

# scratch_gone: record may be called again
scratch_gone()
{
	dm_remove scratch1
	dm_remove scratch2
}

# cut_power MODE [OPTION...]
cut_power()
{
	local mode=$1

	shift
	cuts "$mode" "$log" history "$origin" "$area" --seed "$SEED" "$@"
}
