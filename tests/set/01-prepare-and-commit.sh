#!/bin/bash
# Proves that the members of a set are prepared while all its origins are
# suspended, are marked so until committed, also over a deactivation, and show
# their instant from the beginning.
. "$(dirname "$0")/../shadow.sh"
devices 2 16
origin1=$origin area1=$area
devices 2 16
origin2=$origin area2=$area
stomp fill "$origin1" --seq 1
stomp fill "$origin2" --seq 1
both()
{
	node o1 "$origin1" shadow-origin "$origin1" "$area1"
	node o2 "$origin2" shadow-origin "$origin2" "$area2"
}
both
set=$(new_uuid)
dmsetup suspend o1
dmsetup suspend o2
a=$(dmsetup message o1 0 create "$(new_uuid)" set "$set" members 2 state preparing)
b=$(dmsetup message o2 0 create "$(new_uuid)" set "$set" members 2 state preparing)
dmsetup resume o1
dmsetup resume o2
stomp fill /dev/mapper/o1 --seq 2
stomp fill /dev/mapper/o2 --seq 2
fields()
{
	dmsetup message "$1" 0 list "$2" | awk '{ print $3, $4, $7 }'
}
expect "$set 2 p" "$(fields o1 "$a")" "member 1"
expect "$set 2 p" "$(fields o2 "$b")" "member 2"
node c "$origin1" shadow "$origin1" "$area1" "$a"
expect preparing "$(dm_status c 1)" "state"
stomp verify /dev/mapper/c --seq 1
unnode c
unnode o1
unnode o2
both
expect "$set 2 p" "$(fields o1 "$a")" "member 1, after reactivation"
dmsetup message o1 0 commit "$a"
expect "$set 2 -" "$(fields o1 "$a")" "member 1, committed"
dmsetup message o2 0 delete "$b"
unnode o1
unnode o2
both
expect "$set 2 -" "$(fields o1 "$a")" "member 1, after another"
expect "" "$(dmsetup message o2 0 list)" "member 2, deleted"
node c "$origin1" shadow "$origin1" "$area1" "$a"
expect valid "$(dm_status c 1)" "state"
stomp verify /dev/mapper/c --seq 1
unnode c
