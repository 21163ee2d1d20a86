#!/bin/bash
# Proves that what a deleted copy left is reclaimed at the lowest priority as long as
# nobody waits, and from then on at the worker's own, which it has again afterwards.
# slow
. "$(dirname "$0")/../shadow.sh"
need_target delay
devices 128 128 --chunk-size 4K
activate
message checkpoint
empty=$(used)
take
# An index of more blocks than a join reads at once
stomp scatter /dev/mapper/o --seq 1 --stride 8K
deactivate
n=$(sectors "$area") below=$area
dm_create area "0 $n linear $below 0"
area=/dev/mapper/area
activate
dmsetup load area --table "0 $n delay $below 0 2000 $below 0 0"
dmsetup resume area

# workers PATTERN: the nice values of kernel threads named so
workers()
{
	awk -v "name=$1" '$2 ~ name { print $19 }' /proc/[0-9]*/stat 2>/dev/null
}

# at NICE: it is at work, with that
at()
{
	[ "$(workers 'kworker.*[+]dm-shadow-back')" = "$1" ]
}

given_back()
{
	[ "$(used)" -le $((empty + 8)) ]
}
message delete "$ID"
wait_for at 19
message checkpoint &
wait_for at 0
reads=$(devstat "$below" reads)
wait $!
wait_for given_back
# The join was not over then
[ $(($(devstat "$below" reads) - reads)) -ge 2 ] || fail "it made no haste before its end"
idle()
{
	[ -z "$(workers 'kworker.*[+]dm-shadow-back')" ]
}
wait_for idle
expect "" "$(workers kworker | awk "\$1 == 19")" "workers of low priority in the end"
