#!/bin/bash
# Proves that a saved chunk that has rotted is an error for who reads it, not
# wrong data: counted, and told by an event; all else can be read; a small read
# of the same chunk beside the damage too.
# dmesg: I/O error|Buffer I/O|checksum
. "$(dirname "$0")/../shadow.sh"
devices 8 16
stomp fill "$origin" --seq 1
activate
take
stomp fill /dev/mapper/o --seq 2
message checkpoint
deactivate
# The block with the stamp of sector 800 (chunk 25, its first block)
block=$(stomp where "$area" 800 --seq 1)
for at in 3 4095; do
	blocks damage "$area" "$block" $at
	activate
	show "$ID"
	c=/dev/mapper/c$ID
	event=$(dmsetup info -c --noheadings -o events o)
	refuses stomp read "$c" 800 1 --seq 1 2>said
	grep -qE 'Invalid or incomplete|Input/output' said || fail "strange error: $(cat said)"
	refuses stomp read "$c" 807 1 --seq 1 2>/dev/null
	refuses stomp read "$c" 0 4096 --seq 1 2>/dev/null
	stomp read "$c" 808 8 --seq 1
	stomp read "$c" 792 8 --seq 1
	stomp verify "$c" --seq 1 --count 800
	stomp verify "$c" --seq 1 --start 808
	[ "$(status 20)" -gt 0 ] || fail "not counted"
	[ "$(dm_status "c$ID" 5)" -gt 0 ] || fail "not counted for the copy"
	timeout 20 dmsetup wait o "$event" || fail "no event"
	expect rw "$(status 1)" mode
	hide "$ID"
	stomp verify /dev/mapper/o --seq 2
	deactivate
	blocks damage "$area" "$block" $at	# and back
done
activate
holds "$ID" 1
