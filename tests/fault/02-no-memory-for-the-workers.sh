#!/bin/bash
# Proves that when allocations of the kernel's workers fail, one in five, nothing is
# lost: the saver, checkpoints, joins, merges and reads go on or wait, no copy goes
# and none changes.
# timeout: 600
# slowest
. "$(dirname "$0")/../shadow.sh"
[ -e /proc/self/make-it-fail ] || skip "this kernel injects no faults"
debug=/sys/kernel/debug
mib=24
null_disk $mib
origin=$DEV
null_disk $mib
area=$DEV
# Their memory is taken now.
for d in "$origin" "$area"; do
	dd if=/dev/urandom of="$d" bs=1M count=$mib oflag=direct status=none
done
dm_create small "0 8192 linear $origin 0"
origin=/dev/mapper/small
# What fails on purpose need not be told on the console; it is counted.
echo 1 >/proc/sys/kernel/printk
stop()
{
	echo 0 >$debug/failslab/probability
	echo 0 >$debug/fail_page_alloc/probability
}
cleanup stop
for d in failslab fail_page_alloc; do
	echo N >$debug/$d/ignore-gfp-wait
	echo Y >$debug/$d/task-filter
	echo -1 >$debug/$d/times
	echo 1 >$debug/$d/verbose
	echo 20 >$debug/$d/probability
done
echo 0 >$debug/fail_page_alloc/min-order
# Not kthreadd, whose new workers would inherit it: then nothing can be opened.
mark_workers()
{
	local p

	for p in $(pgrep '^kworker'); do
		echo "$1" >"/proc/$p/make-it-fail" || true
	done 2>/dev/null
}
while sleep 0.3; do
	mark_workers 1
done &
marker=$!
for ((i = 0; i < $(count 3 30); i++)); do
	format_area "$area" "$origin" --chunk-size 4K --journal-size 512K
	stomp run "$origin" "$area" --seed $((SEED + i)) --ops "$(count 500 3000)" --copies 6 \
		--pace 8 --max-write 128K --writers 2 --readers 1 --without discard \
		--merges 1
done
stop
kill $marker
mark_workers 0
failed=$(dmesg | grep -c 'FAULT_INJECTION: forcing a failure')
echo "figure: allocations made to fail $failed"
[ "$failed" -gt 20 ] || fail "hardly an allocation failed"
