#!/bin/bash
# Proves I6: once copies were lost because the diff area could not be written,
# they don't come back as good: not by a deactivation, not by a power cut. A copy
# that is listed without a flag is right.
# dmesg: I/O error|Buffer I/O
# slow
. "$(dirname "$0")/../shadow.sh"
need_target error
disk 8
origin=$DEV
wrapped_area 32

# honest WHAT: each copy is right, or says that it isn't
honest()
{
	local id said

	for id in $(ids); do
		[[ $(listed "$id" 7) == - ]] || continue
		show "$id"
		said=$(stomp verify "/dev/mapper/c$id" --seq 1 2>&1) ||
			[[ $said != *MISMATCH* ]] || fail "$1: copy $id lies: $said"
		hide "$id"
	done
}

for way in deactivation "power cut"; do
	format_area $area "$origin"
	stomp fill "$origin" --seq 1
	activate
	take
	stomp fill /dev/mapper/o --seq 2 --count 4096
	# Nothing but the superblocks takes writes
	area_error 128
	stomp fill /dev/mapper/o --seq 2
	stomp verify /dev/mapper/o --seq 2
	[ "$(status 1)" != rw ] || [ "$(status 19)" -gt 0 ] || fail "$way: no copy was lost"
	honest "$way: at once"
	area_back
	honest "$way: mended"
	if [ "$way" = deactivation ]; then
		deactivate
	else
		power_cut
	fi
	activate
	honest "$way: activated again"
	stomp verify /dev/mapper/o --seq 2
	deactivate
done
