#!/bin/bash
# Proves that errors of single writes to the diff area don't reach the origin,
# and that no copy ever shows wrong data: it is right, or can't be read.
# dmesg: I/O error|Buffer I/O
# slow
. "$(dirname "$0")/../shadow.sh"
need_target error
disk 2
origin=$DEV
wrapped_area 32
for where in data journal anywhere; do
	format_area $area "$origin"
	stomp fill "$origin" --seq 1
	activate
	take
	id=$ID
	stomp fill /dev/mapper/o --seq 2 --count 2048
	# 64 KiB take no I/O, where the next writes go: of what is saved, of the journal, or
	# of either and the index within the MiB behind what was saved last.
	last=$(stomp where "$real" 2040 --seq 1)
	case $where in
	data) hole=$((last * 8 + 8)) ;;
	journal) hole=$((($(blocks list "$real" | awk '$1 == "journal" { print $2 }' |
		sort -n | tail -n 1) + 1) * 8)) ;;
	anywhere) hole=$((last * 8 + 8 + RANDOM % 1920)) ;;
	esac
	area_error "$hole" 128
	stomp scatter /dev/mapper/o --seq 3 --stride 16K --shuffle --seed "$SEED" --writers 4
	message checkpoint 2>/dev/null || true
	stomp fill /dev/mapper/o --seq 4
	stomp verify /dev/mapper/o --seq 4
	echo "$where, hole at $hole: mode $(status 1), errors $(status 21)"
	[ "$(status 21)" -gt 0 ] || fail "$where: nothing met the hole at $hole"
	area_back
	if [[ " $(ids) " == *" $id "* ]] && [[ $(listed "$id" 7) == - ]]; then
		show "$id"
		said=$(stomp verify "/dev/mapper/c$id" --seq 1 2>&1) ||
			[[ $said != *MISMATCH* ]] || fail "wrong data: $said"
		hide "$id"
	fi
	deactivate
	stomp verify "$origin" --seq 4
done
