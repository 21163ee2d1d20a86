#!/bin/bash
# Proves that write-zeroes to the origin saves first what a copy needs, and then
# reads as zeros; on a device that can't do it itself, and on one that does where
# there is one.
# slow
. "$(dirname "$0")/../shadow.sh"
for kind in "disk 16" "scsi"; do
	if [ "$kind" = scsi ]; then
		{ modprobe sd_mod &&
			modprobe scsi_debug dev_size_mb=16 lbpws=1 lbpws10=1 delay=0; } 2>/dev/null ||
			skip "no scsi_debug; proved on a device that can't do it itself"
		cleanup retry modprobe -r scsi_debug
		for ((i = 0; i < 50; i++)); do
			for d in /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*; do
				[ ! -b "/dev/${d##*/}" ] || DEV=/dev/${d##*/}
			done
			[ "${DEV#/dev/sd}" = "$DEV" ] || break
			sleep 0.1
		done
		[ "${DEV#/dev/sd}" != "$DEV" ] || fail "scsi_debug made no disk"
	else
		$kind
	fi
	origin=$DEV
	disk 32
	area=$DEV
	format_area "$area" "$origin"
	stomp fill "$origin" --seq 1
	activate
	take
	stomp zero /dev/mapper/o 40 5000
	stomp verify /dev/mapper/o --seq 0 --start 40 --count 5000
	stomp verify /dev/mapper/o --seq 1 --start 5040 --count 100
	stomp verify /dev/mapper/o --seq 1 --count 40
	holds "$ID" 1
	stomp zero /dev/mapper/o 0 "$(sectors "$origin")"
	stomp verify /dev/mapper/o --seq 0
	holds "$ID" 1
	deactivate
	stomp verify "$origin" --seq 0
done
