#!/bin/bash
# Proves that `shadowctl merge` waits for the end of a merge whose diff area takes no
# more writes, says so meanwhile and at the end, and that the volume is what the copy
# showed.
# dmesg: I/O error|Buffer I/O|lost|merge
# slowest
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
need_target delay
need_target flakey
disk 16
fast=$DEV
dm_create slow "0 $(sectors "$fast") delay $fast 0 0 $fast 0 300"
disk 32
real=$DEV
n=$(sectors "$real")
dm_create area "0 $n linear $real 0"
cleanup cli_cleanup
exits 0 shadowctl attach /dev/mapper/slow /dev/mapper/area --name o
stomp fill "$fast" --seq 1
exits 0 shadowctl create o
stomp fill /dev/mapper/o --seq 2
shadowctl merge --force o@1 2>errors &
merging()
{
	[[ $(nodes status o 24) == 1:* ]]
}
wait_for merging
dm_reload area "0 $n flakey $real 0 0 1000 1 error_writes"
stomp write /dev/mapper/o 30003 1 --seq 1	# returns when it is home
rc=0
wait $! || rc=$?
said=$(cat errors)
expect 8 $rc "exit status: $said"
says 'the merge goes on'
says 'is merged, but the diff area failed'
expect "done" "$(json 'j["state"]' merge --status o)" state
stomp verify /dev/mapper/o --seq 1
