#!/bin/bash
# Proves that what the format keeps survives: attributes of full length, locks,
# policies, exempt runs, a merge, over a deactivation and over a crash (an image
# taken while active).
. "$(dirname "$0")/../shadow.sh"
devices 4 32
stomp fill "$origin" --seq 1
activate
attr=$(printf '%04096x' 3735928559)
take_with set "$(new_uuid)" members 2 attr "$attr"
a=$ID
message lock "$a" 4000000000
message exempt "$a" begin
message exempt "$a" run 1 2 9 1
message exempt "$a" end
stomp fill /dev/mapper/o --seq 2
take
b=$ID
message when_full block 33
message limit 1500
message low_space 42
want=$(message list)
uuid=$(status 25)
check()
{
	expect "$want" "$(message list)" "$1: list"
	expect "block:33 1500 42" "$(status 10) $(status 5) $(status 11)" "$1: policies"
	expect "$uuid" "$(status 25)" "$1: uuid"
	show "$a"
	stomp verify "/dev/mapper/c$a" --seq 1 --count 32
	stomp verify "/dev/mapper/c$a" --seq 0 --start 32 --count 64
	stomp verify "/dev/mapper/c$a" --seq 1 --start 320
	hide "$a"
	holds "$b" 2
}
check active
sync /dev/mapper/o
cp "$area" crashed
deactivate
activate
check clean
deactivate
dd if=crashed of="$area" bs=1M oflag=direct status=none
activate
expect recovered "$(status 26)" "how it was found"
check recovered
