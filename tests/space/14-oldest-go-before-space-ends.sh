#!/bin/bash
# Proves that where the index is large copies are dropped before space ends, so that writes
# go on while it is joined: the oldest, as many at once as hold enough; but neither the
# newest nor a locked one, nor any earlier than that.
# slowest
# timeout: 400
. "$(dirname "$0")/../shadow.sh"
need_target flakey
# Behind the first 5000 chunks that are written it is always zeros: that takes no memory
# here, and room in the index alone.
disk 768
n=$(sectors "$DEV")
data=$((5000 * 16))
dm_create half "0 $data linear $DEV 0
$data $((n - data)) flakey $DEV $data 0 100000 1 drop_writes"
origin=/dev/mapper/half
disk 256
area=$DEV
format_area "$area" "$origin" --chunk-size 4K
stomp scatter "$origin" --seq 1 --stride 8K --count 5000
activate
dm_create zeros "0 $((n - data)) linear /dev/mapper/o $data"

# scatter DEVICE COUNT SEQ
scatter()
{
	stomp scatter "/dev/mapper/$1" --stride 8K --count "$2" --seq "$3" --writers 4
}

# first_write N: not the same for each N
first_write()
{
	stomp write /dev/mapper/zeros $((16 * (80000 + $1))) 8 --seq 13
}

copies_are()
{
	[ "$(ids)" = "$*" ]
}

# quiet: no trees were joined, which gives space back (checkpoints wait for that)
quiet()
{
	local before

	message checkpoint
	before=$(used)
	sleep 1
	message checkpoint
	[ "$before" = "$(used)" ]
}

# limit N: space ends N chunks from here
limit()
{
	wait_for quiet
	message limit $(($(used) + $1))
}

old=
for ((i = 0; i < 3; i++)); do
	take
	old+="$ID "
	stomp write /dev/mapper/o $((16 * i)) 8 --seq $((i + 2))
done
take
old+=$ID
scatter o 5000 9
take
newest=$ID
scatter zeros 70000 10
limit 1500
sleep 1
expect "$old $newest" "$(ids)" "copies while there is room"
scatter o 1200 11
wait_for copies_are "$newest"
expect 4 "$(status 19)" "copies dropped"

limit 120
first_write 1
sleep 2
expect "$newest" "$(ids)" "copies, where the newest would have to go"
message lock "$newest" 4000000000
take
limit 120
first_write 2
sleep 2
expect "$newest $ID" "$(ids)" "copies, where a locked one would have to go"
message lock "$newest" 0
limit 120
first_write 3
wait_for copies_are "$ID"
! dmesg | grep "area is full" || fail "space ended"
told=$(dmesg | grep -c "short of space, dropping")
expect 5 "$told" "copies said to be dropped early"
