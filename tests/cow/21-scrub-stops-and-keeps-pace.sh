#!/bin/bash
# Proves that a scrub reads no faster than it was told, and not much slower;
# pauses while the origin is suspended; goes on beside a creation; ends at once when
# stopped or deactivated in the middle; and ends as failed when the diff area does.
# dmesg: I/O error|Buffer I/O|lost
. "$(dirname "$0")/../shadow.sh"
need_target flakey
disk 16
origin=$DEV
wrapped_area 64
format_area "$area" "$origin" --chunk-size 16K
stomp fill "$origin" --seq 1
activate
take
stomp fill /dev/mapper/o --seq 2
message checkpoint

now_ms()
{
	echo $((${EPOCHREALTIME/./} / 1000))
}

data_read()
{
	echo $((($(devstat "$real" read_sectors) - before) / 2))
}

# at_least KIB: were read
at_least()
{
	[ "$(data_read)" -ge "$1" ]
}

# 1 MiB a second, a quarter of a second's worth at once, and some of the index
before=$(devstat "$real" read_sectors)
began=$(now_ms)
message scrub start 1024
bad_message 'under way' scrub start
wait_for at_least 4096
kib=$(data_read)
ms=$(($(now_ms) - began))
echo "$kib KiB in $ms ms"
[ "$kib" -le $((ms * 1024 / 1000 + 256 + 128)) ] || fail "too fast: $kib KiB in $ms ms"
[ $ms -le 20000 ] || fail "too slow: $kib KiB in $ms ms"
expect running "$(status 27)" scrub

dmsetup suspend o
kib=$(data_read)
sleep 1
expect "$kib" "$(data_read)" "KiB read while suspended"
expect running "$(status 27)" "scrub while suspended"
dmsetup resume o
wait_for at_least $((kib + 512))
take
expect running "$(status 27)" "scrub after a creation"

began=$(now_ms)
message scrub stop
ms=$(($(now_ms) - began))
[ $ms -le 5000 ] || fail "stopping took $ms ms"
expect stopped "$(status 27)" scrub
kib=$(data_read)
sleep 1
expect "$kib" "$(data_read)" "KiB read after the stop"
[ "$(status 29)" -lt 16384 ] || fail "all of it was read: $(status 29) KiB"
message scrub stop
expect stopped "$(status 27)" "stopped twice"

# At this rate a chunk takes 16 s: neither waits for that
message scrub start 1
first_read()
{
	[ "$(status 27 29)" = "running 16" ]
}
wait_for first_read
began=$(now_ms)
deactivate
ms=$(($(now_ms) - began))
[ $ms -le 10000 ] || fail "deactivation took $ms ms"
activate
expect - "$(status 27)" "scrub after a deactivation"
message scrub start
wait_for scrub_is 'done'
expect "16384 0" "$(status 29 30)" "all of it"

# Started while suspended, it waits
dmsetup suspend o
message scrub start 256
before=$(devstat "$real" read_sectors)
sleep 1
expect 0 "$(data_read)" "KiB read while suspended"
dmsetup resume o
wait_for at_least 16
area_takes_no_writes 0
stomp write /dev/mapper/o 0 8 --seq 3
wait_for scrub_is failed
says 'any more' message scrub start
deactivate
area_back
