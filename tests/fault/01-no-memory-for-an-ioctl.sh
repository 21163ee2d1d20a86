#!/bin/bash
# Proves that whatever is asked of the module fails with ENOMEM and changes nothing,
# or succeeds, whichever of its allocations fails: activation, recovery, messages,
# suspend, merge, deactivation, each with its first allocation failing, its second,
# and so on.
# timeout: 600
# slowest
. "$(dirname "$0")/../shadow.sh"
[ -e /proc/self/fail-nth ] || skip "this kernel injects no faults"
debug=/sys/kernel/debug
echo N >$debug/failslab/ignore-gfp-wait
echo N >$debug/fail_page_alloc/ignore-gfp-wait
echo 0 >$debug/fail_page_alloc/min-order
echo 0 >$debug/failslab/verbose
echo 0 >$debug/fail_page_alloc/verbose
# What fails on purpose need not be told.
echo 1 >/proc/sys/kernel/printk
devices 8 24
# shellcheck disable=SC2046 # a word or none
faults memory "$origin" "$area" $(count '' all)
