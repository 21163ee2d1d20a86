#!/bin/bash
# Proves I7: of a set, after a power cut, all members are there or none.  Two
# origins and their diff areas in one log; a set is prepared on both while both
# are suspended, then committed one after the other.  At the end of each flush and FUA write:
# where one member is committed the other is there too, and both show the same
# instant; a prepared set is there whole or not at all once the first commit has
# begun.
# timeout: 600
# slowest
. "$(dirname "$0")/rig.sh"
o=2048 a=16384
disk $(((2 * o + 2 * a + 2047) / 2048))
backing=$DEV
disk 128
log=$DEV
dm_create logged "0 $((2 * o + 2 * a)) recorder $backing $log"
slices s /dev/mapper/logged $o $a $o $a
format_area /dev/mapper/s2 /dev/mapper/s1
format_area /dev/mapper/s4 /dev/mapper/s3
for i in 1 3; do
	stomp fill /dev/mapper/s$i --seq 1
	node o$i $o shadow-origin /dev/mapper/s$i /dev/mapper/s$((i + 1))
done
set=$(new_uuid)
mark()
{
	dmsetup message logged 0 mark "$1"
}
# Both origins hold write 1 at the instant, the first sectors then get others
stomp write /dev/mapper/o1 0 64 --seq 1
mark begin
dmsetup suspend o1
dmsetup suspend o3
id1=$(dmsetup message o1 0 create "$(new_uuid)" set "$set" members 2 state preparing)
id3=$(dmsetup message o3 0 create "$(new_uuid)" set "$set" members 2 state preparing)
dmsetup resume o1
dmsetup resume o3
mark prepared
stomp scatter /dev/mapper/o1 --seq 2 --stride 64K
stomp scatter /dev/mapper/o3 --seq 2 --stride 64K
mark committing
dmsetup message o1 0 commit "$id1"
mark half
stomp scatter /dev/mapper/o1 --seq 3 --stride 32K
dmsetup message o3 0 commit "$id3"
mark committed
stomp scatter /dev/mapper/o3 --seq 3 --stride 32K
mark end
unnode o1
unnode o3
for i in 1 2 3 4; do
	dm_remove s$i
done
dm_remove logged

disk $(((2 * o + 2 * a + 2047) / 2048))
scratch=$DEV
slices t "$scratch" $o $a $o $a
logreplay list "$log" >entries
place()
{
	awk -v m="$1" '$NF == m { print $1 }' entries
}
begin=$(place begin) prepared=$(place prepared)
half=$(place half) committed=$(place committed) end=$(place end)
mapfile -t places < <(logreplay cuts "$log" --from begin | awk -v e="$end" '$1 <= e')
echo "${#places[@]} places from event $begin to $end; prepared $prepared, half $half, all $committed"
# All around the commits, of the others each sixth
n=0
for cut in "${places[@]}"; do
	n=$((n + 1))
	[ -n "$LONG" ] || [ $((n % 6)) -eq 0 ] ||
		{ [ "$cut" -ge $((prepared - 4)) ] && [ "$cut" -le $((prepared + 4)) ]; } ||
		{ [ "$cut" -ge $((half - 4)) ] && [ "$cut" -le $((half + 4)) ]; } ||
		{ [ "$cut" -ge $((committed - 4)) ] && [ "$cut" -le $((committed + 4)) ]; } || continue
	logreplay replay "$log" "$scratch" --to "$cut" --lose all
	flags=()
	for i in 1 3; do
		node o$i $o shadow-origin /dev/mapper/t$i /dev/mapper/t$((i + 1))
		flags[i]=$(dmsetup message o$i 0 list | awk '{ print $7 }')
	done
	state="${flags[1]:-none} ${flags[3]:-none}"
	echo "cut after event $cut: $state"
	if [ "$cut" -ge "$committed" ]; then
		expect "- -" "$state" "cut $cut, after both commits"
	elif [ "$cut" -ge "$half" ]; then
		[[ $state == "- p" || $state == "- -" ]] || fail "cut $cut, after one commit: $state"
	elif [ "$cut" -ge "$prepared" ]; then
		[[ $state == "p p" || $state == "- p" ]] || fail "cut $cut, prepared: $state"
	else
		[[ $state != *-* ]] || fail "cut $cut, before it was prepared: $state"
	fi
	for i in 1 3; do
		[ -n "${flags[i]}" ] || continue
		[ $i -eq 1 ] && id=$id1 || id=$id3
		node c $o shadow /dev/mapper/t$i /dev/mapper/t$((i + 1)) "$id"
		stomp verify /dev/mapper/c --seq 1
		unnode c
	done
	unnode o1
	unnode o3
done
echo "cuts from event $begin to $end: $n places"
