#!/bin/bash
# Proves that after a merge the origin reads as the copy at once, while data
# still moves; that older and newer copies keep what they show; that writes
# meanwhile are right; that a deactivation in between resumes; and what is
# refused while it goes on.
. "$(dirname "$0")/../shadow.sh"
need_target delay
disk 8
fast=$DEV
n=$(sectors "$fast")
dm_create slow "0 $n linear $fast 0"
origin=$DEV
disk 64
area=$DEV
format_area "$area" "$origin" --chunk-size 16K
stomp fill "$fast" --seq 1
activate
take
oldest=$ID
stomp fill /dev/mapper/o --seq 2
take
target=$ID
# Saved here and there: many pieces to bring home
stomp scatter /dev/mapper/o --seq 3 --stride 16K --size 16K --shuffle
take
newest=$ID
stomp fill /dev/mapper/o --seq 4
expect - "$(status 24)" "merge before"

bad_message suspend merge "$target"
# Slow enough that the merge lasts
dm_reload slow "0 $n delay $fast 0 0 $fast 0 500"
merge "$target"
[[ $(status 24) =~ ^$target:[0-9]+/512$ ]] || fail "merge: $(status 24)"
[[ $(listed "$target" 7) == *m* ]] || fail "flags: $(listed "$target" 7)"
stomp verify /dev/mapper/o --seq 2 --count 2048
stomp verify /dev/mapper/o --seq 2 --start 15000
says 'under way' merge "$oldest"
bad_message 'in use|merg' delete "$target"
# Whole chunks, parts of chunks, at once
stomp write /dev/mapper/o 12800 64 --seq 5 &
stomp write /dev/mapper/o 13003 7 --seq 5
wait $!
stomp verify /dev/mapper/o --seq 5 --start 12800 --count 64
stomp verify /dev/mapper/o --seq 5 --start 13003 --count 7
stomp verify /dev/mapper/o --seq 2 --start 12864 --count 139
stomp verify /dev/mapper/o --seq 2 --start 13010 --count 500
[ "$(status 24)" != - ] || fail "the merge is over already"
deactivate
dm_reload slow "0 $n linear $fast 0"
activate
expect clean "$(status 26)" "deactivated in the middle"
holds "$newest" 3
wait_for merge_done
stomp verify /dev/mapper/o --seq 2 --count 12800
stomp verify /dev/mapper/o --seq 5 --start 12800 --count 64
stomp verify /dev/mapper/o --seq 2 --start 12864 --count 139
stomp verify /dev/mapper/o --seq 5 --start 13003 --count 7
stomp verify /dev/mapper/o --seq 2 --start 13010
holds "$oldest" 1
holds "$target" 2
holds "$newest" 3
expect "$oldest $target $newest" "$(ids)" copies
deactivate
stomp verify "$fast" --seq 2 --count 12800
