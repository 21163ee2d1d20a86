#!/bin/bash
# Proves that what a deleted copy left is reclaimed at the lowest priority, by a
# worker that has its own again afterwards.
# slow
. "$(dirname "$0")/../shadow.sh"
need_target delay
devices 64 64 --chunk-size 4K
activate
message checkpoint
empty=$(used)
take
# An index of more blocks than a join reads at once
stomp scatter /dev/mapper/o --seq 1 --stride 8K
deactivate
n=$(sectors "$area")
dm_create area "0 $n delay $area 0 500 $area 0 0"
area=/dev/mapper/area
activate

# workers PATTERN: the nice values of kernel threads named so
workers()
{
	awk -v "name=$1" '$2 ~ name { print $19 }' /proc/[0-9]*/stat 2>/dev/null
}

begun()
{
	[ "$(workers 'kworker.*[+]dm-shadow-back')" = 19 ]
}

given_back()
{
	[ "$(used)" -le $((empty + 8)) ]
}
message delete "$ID"
for ((i = 0; i < 100; i++)); do
	! begun || break
done
begun || fail "the worker's priority is '$(workers 'kworker.*[+]dm-shadow-back')'"
wait_for given_back
idle()
{
	[ -z "$(workers 'kworker.*[+]dm-shadow-back')" ]
}
wait_for idle
expect "" "$(workers kworker | awk "\$1 == 19")" "workers of low priority in the end"
