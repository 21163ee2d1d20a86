#!/bin/bash
# Proves that a merge stops at saved data that has rotted and goes on by itself when
# the damage is gone; that till then all else can be read and written, by many
# at once, and only what needs the damaged chunk is an error; that it is so after a
# restart, too; and that the damaged chunk can be given up.
# dmesg: I/O error|Buffer I/O|checksum|merging|error -84|stays as it is|left out
# slowest
. "$(dirname "$0")/../shadow.sh"
devices 8 32
stomp fill "$origin" --seq 1
activate
take
stomp fill /dev/mapper/o --seq 2
message checkpoint
deactivate
first=$(stomp where "$area" 800 --seq 1)
second=$(stomp where "$area" 8008 --seq 1)
blocks damage "$area" "$first" 3
blocks damage "$area" "$second" 3
activate
bad_message 'no merge is under way' merge skip
merge "$ID"
merge_is() { [ "$(status 31)" = "$1" ]; }
stopped_at() { [ "$(status 24 31)" = "$ID:$1/512 stopped" ]; }
wait_for stopped_at 25
expect 1 "$(listed "$ID" 12)" "damaged chunks"
o=/dev/mapper/o

# What was not home, one by one and at once; only writes that need a damaged chunk fail
stomp write "$o" 803 2 --seq 3 2>/dev/null && fail "written over what can't be read"
stomp write "$o" 760 80 --seq 3 2>/dev/null && fail "written over what can't be read, in part"
stomp write "$o" 12003 2 --seq 3
refused=()
for sector in 8000 8016 8024 8032 832 864 804 8030; do
	stomp write "$o" "$sector" 1 --seq 3 2>/dev/null &
	refused[sector]=$!
done
for sector in "${!refused[@]}"; do
	rc=0
	wait "${refused[$sector]}" || rc=$?
	case $sector in
	804|8000|8016|8024|8030) expect 1 $rc "write to sector $sector" ;;
	*) expect 0 $rc "write to sector $sector" ;;
	esac
done
# all [RANGE...]: what should be read, where "start count seq" is not write 1
all()
{
	local range at=0 start count seq

	for range; do
		read -r start count seq <<<"$range"
		[ "$start" -eq $at ] || stomp verify "$o" --seq 1 --start $at --count $((start - at))
		[ "$seq" = - ] || stomp read "$o" "$start" "$count" --seq "$seq"
		at=$((start + count))
	done
	stomp verify "$o" --seq 1 --start $at
}
written=("832 1 3" "864 1 3" "8008 8 -" "8032 1 3" "12003 2 3")
refuses stomp read "$o" 800 1 --seq 1 2>/dev/null
refuses stomp read "$o" 8008 1 --seq 1 2>/dev/null
all "800 8 -" "${written[@]}"
deactivate

activate
wait_for stopped_at 25
all "800 8 -" "${written[@]}"
blocks damage "$area" "$first" 3	# and back
wait_for stopped_at 250
all "${written[@]}"
expect 0 "$(status 32)" "left out"
# What came home by the cursor and was written since is not brought once more
stomp write "$o" 6720 31 --seq 5
stomp write "$o" 6751 1259 --seq 6 2>/dev/null && fail "written over what can't be read"
all "832 1 3" "864 1 3" "6720 31 5" "8008 8 -" "8032 1 3" "12003 2 3"
message merge skip
wait_for merge_is 'done'
expect 1 "$(status 32)" "left out"
# All of that chunk is what was written since
all "832 1 3" "864 1 3" "6720 31 5" "8000 32 2" "8032 1 3" "12003 2 3"
stomp write "$o" 8000 32 --seq 1
blocks damage "$area" "$second" 3
holds "$ID" 1
deactivate
o=$origin
all "832 1 3" "864 1 3" "6720 31 5" "8032 1 3" "12003 2 3"
