#!/bin/bash
# Proves that a copy shows what the origin held when it was taken, for every
# chunk size: one sector of each chunk overwritten, then everything; several
# copies, each of its own time; also when read through the index, and after a
# deactivation.
. "$(dirname "$0")/../shadow.sh"
for chunk in 4K 16K 1M; do
	[ $chunk = 1M ] && size=96 || size=32
	devices 4 "$size" --chunk-size $chunk
	stomp fill "$origin" --seq 1
	activate
	take
	first=$ID
	stomp scatter /dev/mapper/o --seq 2 --stride $chunk --size 512
	take
	second=$ID
	stomp fill /dev/mapper/o --seq 3
	take
	third=$ID
	stomp fill /dev/mapper/o --seq 4

	check()
	{
		holds "$first" 1
		show "$second"
		stomp check "/dev/mapper/c$second" --seq 2 --stride $chunk --size 512 --else 1
		hide "$second"
		holds "$third" 3
		stomp verify /dev/mapper/o --seq 4
	}
	check
	message checkpoint
	check
	deactivate
	stomp verify "$origin" --seq 4
	activate
	expect "$first $second $third" "$(ids)" "copies"
	check
	deactivate
done
