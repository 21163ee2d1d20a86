#!/bin/bash
# Proves that the output of dmsetup table loads again, for both targets, with
# and without options; that the engine is handed over, not started anew: the
# diff area isn't read, counters go on, the copies show what they showed.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 16
stomp fill "$origin" --seq 1

for options in "" "cache_kib 2048"; do
	# shellcheck disable=SC2086
	activate_with $options
	want="0 $(sectors "$origin") shadow-origin $(stat -L -c '%Hr:%Lr' "$origin") \
$(stat -L -c '%Hr:%Lr' "$area")${options:+ 2 $options}"
	table=$(dmsetup table o)
	expect "$want" "$table" "table"
	take
	id=$ID
	stomp scatter /dev/mapper/o --seq 2 --stride 64K
	saved=$(status 17)
	[ "$saved" -gt 0 ] || fail "nothing was saved"
	show "$id"
	reads=$(devstat "$area" reads)
	dm_reload o "$table"
	expect "$table" "$(dmsetup table o)" "table after the reload"
	expect "$reads" "$(devstat "$area" reads)" "reads of the diff area by the reload"
	expect "$saved" "$(status 17)" "counter over the reload"
	dm_reload "c$id" "$(dmsetup table "c$id")"
	stomp verify "/dev/mapper/c$id" --seq 1
	stomp fill /dev/mapper/o --seq 1
	stomp verify "/dev/mapper/c$id" --seq 1
	hide "$id"
	deactivate
done
