#!/bin/bash
# Proves that pieces of a copy that lie on the origin are read by one request, over
# saved chunks between them: of up to 16 KiB if origin and diff area are on one disk, of
# up to 64 KiB if the disk rotates, over none if they are two that do not; that what
# can't be read in such a gap is not missed; and that what can't be read in a piece
# fails the read of that piece.
# dmesg: I/O error|Buffer I/O
. "$(dirname "$0")/../shadow.sh"
requires addpart

# reads: of the origin while the copy is read, 128 KiB at a time; their number, and KiB
reads()
{
	local n s

	show "$id"
	n=$(devstat "$origin" reads) s=$(devstat "$origin" read_sectors)
	dd if="/dev/mapper/c$id" of=/dev/null bs=128K iflag=direct status=none
	echo "$(($(devstat "$origin" reads) - n)) $((($(devstat "$origin" read_sectors) - s) / 2))"
	hide "$id"
}

# bad SIGN SECTOR COUNT: these can't be read any more, or can again
bad()
{
	echo "$1$((2048 + $2))-$((2048 + $2 + $3 - 1))" >"$attributes/badblocks"
}

# unreadable: in gaps and pieces
unreadable()
{
	bad + 128 32
	refuses stomp read /dev/mapper/o 128 8 --seq 2 2>/dev/null
	holds "$id" 1
	bad + 232 8
	show "$id"
	stomp read "/dev/mapper/c$id" 0 232 --seq 1
	refuses stomp read "/dev/mapper/c$id" 0 256 --seq 1 2>/dev/null
	refuses stomp read "/dev/mapper/c$id" 232 1 --seq 1 2>/dev/null
	stomp read "/dev/mapper/c$id" 240 784 --seq 1
	hide "$id"
	bad - 128 32
	bad - 232 8
}

# try ROTATES DISKS ONE-GAP TWO-GAPS: reads if every fourth chunk is saved, and if
# three of four are
try()
{
	null_disk 64 max_sectors=512
	disk=$DEV
	attributes=$(printf '%s\n' /sys/kernel/config/nullb/dms* | sort -V | tail -n 1)
	rotates "$disk" "$1"
	addpart "$disk" 1 2048 8192
	addpart "$disk" 2 20480 65536
	origin=${disk}p1 area=${disk}p2
	[ -b "$origin" ] || { origin=${disk}1 area=${disk}2; }
	[ "$2" = one ] || { disk 32; area=$DEV; }
	format_area "$area" "$origin"
	stomp fill "$origin" --seq 1
	activate
	take
	id=$ID
	expect "32 4096" "$(reads)" "nothing saved"

	# One chunk in four, the first
	stomp scatter /dev/mapper/o --seq 2 --stride 64K
	expect "$3" "$(reads)" "one chunk in four saved"
	message checkpoint
	expect "$3" "$(reads)" "the same by the index"
	unreadable

	# The two after it: 48 KiB
	stomp scatter /dev/mapper/o --seq 3 --stride 64K --size 33K
	expect "$4" "$(reads)" "three chunks in four saved"
	unreadable
	deactivate
}

try 0 two "64 3072" "64 1024"
try 0 one "32 3584" "64 1024"
try 1 two "32 3584" "32 2560"
