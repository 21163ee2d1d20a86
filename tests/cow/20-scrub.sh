#!/bin/bash
# Proves that a scrub finds each chunk of saved data that has rotted and no other,
# counts it for just the copies that see it, reads each saved chunk once (in
# the index and in memory), counts nothing twice, and tells by events when it finds
# something and when it is over.
# timeout: 600
# dmesg: checksum
# slowest
. "$(dirname "$0")/../shadow.sh"

# damage SEQ SECTOR BYTE: or undo it
damage()
{
	local block

	block=$(stomp where "$area" "$2" --seq "$1")
	blocks damage "$area" "$block" "$3"
}

# scrub: from the beginning to the end; prints fields 27 to 30
scrub()
{
	message scrub start
	wait_for scrub_is 'done'
	status 27 28 29 30
}

# damaged_chunks COPY...: what the list says of each
damaged_chunks()
{
	local id all=()

	for id; do
		all+=("$(listed "$id" 12)")
	done
	echo "${all[*]}"
}

for size in "4K 32" "16K 32" "1M 128"; do
	chunk=${size% *}
	devices 8 "${size#* }" --chunk-size "$chunk"
	stomp fill "$origin" --seq 1
	activate
	take
	a=$ID
	take
	b=$ID
	stomp fill /dev/mapper/o --seq 2 --count 8192
	take
	c=$ID
	stomp fill /dev/mapper/o --seq 3 --count 4096
	# Zeros need no look
	stomp fill /dev/mapper/o --seq 0 --start 12288
	chunks=$((16384 * 512 / $(numfmt --from=iec "$chunk")))
	# a and b need 0...16383 of write 1 (c too from 8192 on), c 0...4095 of write 2
	saved=$(((8192 + 4096 + 4096) / 2))

	expect "done $chunks/$chunks $saved 0" "$(scrub)" "in memory, $chunk"
	message checkpoint
	expect "done $chunks/$chunks $saved 0" "$(scrub)" "in the index, $chunk"
	deactivate

	damage 1 800 3			# seen by a, b
	damage 1 2056 4095		# a, b; another chunk even of 1 MiB
	damage 2 2048 17		# c
	damage 1 12296 100		# all
	activate
	expect "0 0 0" "$(damaged_chunks "$a" "$b" "$c")" "before, $chunk"
	event=$(events)
	expect "done $chunks/$chunks $saved 4" "$(scrub)" "damaged, $chunk"
	event_since "$event" "damage found"
	expect 4 "$(status 20)" "checksum errors"
	expect "3 3 2" "$(damaged_chunks "$a" "$b" "$c")" "damaged, $chunk"
	# Once more, and by a read
	show "$a"
	refuses stomp read "/dev/mapper/c$a" 800 1 --seq 1 2>/dev/null
	hide "$a"
	expect "done $chunks/$chunks $saved 4" "$(scrub)" "again, $chunk"
	expect "3 3 2" "$(damaged_chunks "$a" "$b" "$c")" "again, $chunk"
	# What nobody sees is not looked at
	message delete "$a" "$b"
	expect "done $chunks/$chunks $((8192 / 2)) 2" "$(scrub)" "the last copy, $chunk"
	expect 2 "$(damaged_chunks "$c")" "the last copy, $chunk"
	deactivate

	damage 2 2048 17		# and back
	activate
	# A read finds the other
	show "$c"
	refuses stomp read "/dev/mapper/c$c" 12288 16 --seq 1 2>/dev/null
	stomp read "/dev/mapper/c$c" 2048 8 --seq 2
	hide "$c"
	expect 1 "$(damaged_chunks "$c")" "by a read, $chunk"
	deactivate
	damage 1 12296 100
	activate
	expect "done $chunks/$chunks $((8192 / 2)) 0" "$(scrub)" "mended, $chunk"
	expect 0 "$(damaged_chunks "$c")" "mended, $chunk"
	deactivate
done
