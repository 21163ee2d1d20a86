#!/bin/bash
# Proves that activation refuses, each with its own reason: a blank device, one
# with a file system, another version, unknown incompatible features, a device
# shorter than its area, both superblocks damaged; and that none of these writes
# a byte.  Unknown compatible features don't matter.
. "$(dirname "$0")/../shadow.sh"
disk 8
origin=$DEV
disk 4
real=$DEV
n=$(sectors "$origin")
n_area=$(sectors "$real")
dm_create area "0 $n_area linear $real 0"
area=/dev/mapper/area
table="0 $n shadow-origin $origin $area"

# refuse WHAT PATTERN
refuse()
{
	local writes

	writes=$(devstat "$real" writes)
	bad_table "$2" "$table"
	expect "$writes" "$(devstat "$real" writes)" "$1: writes"
	echo "$1: refused"
}
# super_set OFFSET BYTES VALUE: in both superblocks
super_set()
{
	blocks set "$real" 0 "$@"
	blocks set "$real" 8 "$@"
}
fresh()
{
	format_area "$area" "$origin"
}

refuse blank 'no diff area|not a diff area|blank|format'
truncate -s 4M ext4
mkfs.ext4 -q -F ext4
dd if=ext4 of="$real" bs=1M status=none conv=fsync
refuse ext4 'no diff area|not a diff area|format'
fresh
super_set 48 2 2
refuse version 'version'
fresh
super_set 88 4 128
refuse features 'feature|incompat'
fresh
dm_reload area "0 $((n_area - 2048)) linear $real 0"
refuse truncated 'small|short|truncated|size|end'
dm_reload area "0 $n_area linear $real 0"
blocks damage "$real" 0
blocks damage "$real" 8
refuse "both superblocks" 'no diff area|not a diff area|damage|superblock'
fresh
super_set 136 8 $((n + 8))
refuse "an origin that was longer" 'origin.*(small|short|size)|small|short'
fresh
super_set 96 4 3
refuse "chunks of 3 blocks" 'damage|superblock|nonsense|chunk|no diff area|not a diff area'
fresh
super_set 80 4 4096
activate
expect rw "$(status 1)" "unknown compatible features"
deactivate
fresh
super_set 84 4 4096
dmsetup create o --table "$table" 2>/dev/null && {
	cleanup dm_gone o
	expect ro "$(status 1)" "unknown features, read-only compatible"
	deactivate
}
fresh
activate
expect rw "$(status 1)" "fresh"
