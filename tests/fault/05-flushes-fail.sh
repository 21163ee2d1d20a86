#!/bin/bash
# Proves that a diff area on a disk with a cache and without FUA, where each group of saves
# ends with a flush, may fail each request of a group, the flush too: now and then, and
# nothing is lost; or for good, and that costs copies only.
# dmesg: I/O error
# slowest
. "$(dirname "$0")/../shadow.sh"
fail=/sys/kernel/debug/fail_make_request
[ -d $fail ] || skip "this kernel injects no faults"
devices 4 16
expect 0 "$(<"/sys/block/${area#/dev/}/queue/fua")" "FUA of the disk"
echo 100 >$fail/probability
echo 0 >$fail/verbose
# each N: of the requests to the diff area the Nth fails, and so on; 0: none
each()
{
	echo -1 >$fail/times
	echo "$1" >$fail/interval
	echo $(($1 > 0)) >"/sys/block/${area#/dev/}/make-it-fail"
}
cleanup each 0

stomp fill "$origin" --seq 1
activate
take
# Data, journal, flush: each fails in its turn.  Three tries are nine requests at most, and
# half the journal stays empty: no checkpoint adds to them.  So no group fails as often as
# it is tried.
flushes=$(devstat "$area" flushes)
each 7
stomp scatter /dev/mapper/o --seq 2 --stride 32K --count 96
each 0
errors=$(status 21)
echo "$errors errors"
[ "$errors" -ge 30 ] || fail "too few errors"
[ "$(devstat "$area" flushes)" -gt $((flushes + 95)) ] || fail "no flushes"
expect rw "$(status 1)" "mode"
holds "$ID" 1
deactivate
activate
holds "$ID" 1
stomp check /dev/mapper/o --seq 2 --stride 32K --count 96 --else 1

each 1
stomp fill /dev/mapper/o --seq 3
stomp verify /dev/mapper/o --seq 3
each 0
expect "ro i" "$(status 1) $(listed "$ID" 7)" "mode, flags of the copy"
deactivate
stomp verify "$origin" --seq 3
