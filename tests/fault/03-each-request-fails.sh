#!/bin/bash
# Proves that an I/O error while anything is asked of the module, on the diff area or the
# origin, reading or writing, for one request or some in a row, leaves the origin right
# and usable, and copies right, lost or unreadable, but never wrong, at once and after the
# next activation.  Each time it is another request that fails: the first, the second, then
# about one in fifteen; with LONG each.
# timeout: 600
# dmesg: I/O error
# slowest
. "$(dirname "$0")/../shadow.sh"
need_target failnth
disk 2
dm_create nth-origin "0 $(sectors "$DEV") failnth $DEV"
origin=/dev/mapper/nth-origin area=/dev/mapper/nth-area
# What is written is flushed, or made durable by FUA, two groups of saves at a time
for cache in flush fua; do
	disk 4
	dm_create nth-area "0 $(sectors "$DEV") failnth $DEV ${cache#flush}"
	format_area $area $origin --chunk-size 4K --journal-size 512K
	# shellcheck disable=SC2046 # a word or none
	faults io $origin $area $(count '' all)
	dm_remove nth-area
done
