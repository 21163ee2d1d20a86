#!/bin/bash
# The guest's part of the demonstration; see run.
#
#	guest.sh first|second|third	which boot this is
#
# In /run/out, which outlives the guest:
#	lists/NAME	what the documents were when copy NAME was taken: a line
#			for each file with its SHA-256, one for each folder
#	copies/NAME	what shadowctl calls that copy
#	counts		copy|volume NAME FILES for each comparison made
#	cut		the power is about to go
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd -P)
export PATH=$top/build/demo/bin:$PATH PYTHONDONTWRITEBYTECODE=1
out=/run/out
lists=$out/lists
files=$top/tests/demo/files.py
read -r volume area <<<"$DISKS"
node=/dev/mapper/shadow-${volume##*/}
live=/mnt/volume
writer=

# --- the transcript ----------------------------------------------------------

heading()
{
	printf '\n%s\n%s\n' "$1" "${1//?/-}"
}

say()
{
	printf '  # %s\n' "$*"
}

show()
{
	local word line='$'

	for word; do
		case $word in *[\ \&\;]*) word="\"$word\"" ;; esac
		line+=" $word"
	done
	printf '%s\n' "$line"
}

# run COMMAND...: show it, do it
run()
{
	show "$@"
	"$@"
}

die()
{
	echo "FAILED: $*"
	exit 1
}

# shellcheck disable=SC2317 # called by the trap
ended()
{
	local rc=$?

	[ -z "$writer" ] || kill "$writer" 2>/dev/null || true
	[ $rc -ne 0 ] || return 0
	printf '\nfailed with status %s; what there is:\n' $rc
	shadowctl status || true
	shadowctl list || true
	dmsetup table || true
	dmsetup status || true
	findmnt -t fuseblk,ntfs3,ntfs || true
	echo "the kernel said last:"
	dmesg | tail -n 40
}
trap ended EXIT
trap 'echo "FAILED: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
set -E

# --- the volume --------------------------------------------------------------

# Debian 12's own kernel has no ntfs3.
fs=ntfs-3g
! modprobe -q ntfs3 || fs=ntfs3

mount_volume()
{
	local options

	case $fs in
	ntfs3) options=(-o iocharset=utf8) ;;
	ntfs-3g) options=(-o big_writes) ;;
	esac
	mkdir -p $live
	run mount -t $fs "${options[@]}" "$node" $live
}

unmount_volume()
{
	local n

	run umount $live
	# ntfs-3g writes the rest and closes the device after umount(8) has returned.
	for ((n = 0; n < 100; n++)); do
		[ "$(dmsetup info -c --noheadings -o open "${node##*/}")" -ne 0 ] || return 0
		sleep 0.1
	done
	die "$node stays in use"
}

changes()
{
	awk 'END { print NR }' $live/busy/log 2>/dev/null || echo 0
}

start_writer()
{
	local n

	rm -rf $live/busy
	"$files" write $live/busy &
	writer=$!
	for ((n = 0; n < 300; n++)); do
		[ "$(changes)" -lt 10 ] || break
		sleep 0.1
	done
	[ "$(changes)" -ge 10 ] || die "the writer does not write"
	say "a program changes files in $live/busy all the time from here on"
}

stop_writer()
{
	kill "$writer"
	wait "$writer" || die "the writer failed"
	writer=
	say "that program ends, after $(changes) changes"
}

# Only what has to do with disks: the rest of this machine is of no interest here.
start_udev()
{
	mkdir -p /run/udev/rules.d
	cp "$top"/userspace/udev/*.rules /run/udev/rules.d/
	/lib/systemd/systemd-udevd --daemon 2>/dev/null
	udevadm trigger --action=add --subsystem-match=block
	udevadm settle
	unset DM_DISABLE_UDEV
}

# --- comparing ---------------------------------------------------------------

# listing DIR: each file below it with the hash of its content, each folder
listing()
{
	(
		cd "$1"
		find . -type f -print0 | sort -z | xargs -0 sha256sum
		find . -mindepth 1 -type d | sort
	)
}

# compare DIR NAME: are the documents in DIR those that were there when NAME was
# listed, and were the writer's files caught at one instant?
compare()
{
	local what count busy numbers

	listing "$1/documents" >/run/tmp/now
	if ! diff -u "$lists/$2" /run/tmp/now >/run/tmp/diff; then
		cat /run/tmp/diff
		die "$1 is not what $2 was"
	fi
	[ "$1" = $live ] && what=volume || what=copy
	count=$(grep -c '^[0-9a-f]\{64\}' "$lists/$2")
	numbers=$("$files" check "$1/busy") || die "$1/busy is not of one instant"
	busy=${numbers% *}
	echo "$what $2 $((count + busy))" >>$out/counts
	say "$1: $count documents have the hashes of '$2', $busy files of the writer are" \
		"those after its change ${numbers#* }"
}

# take NAME: a shadow copy, and the list of what it must hold.  The documents are
# changed by nobody but this script, between two copies.
take()
{
	listing $live/documents >"$lists/$1"
	show shadowctl create --name "$1" $live
	shadowctl create --name "$1" $live | tee "$out/copies/$1"
}

# copy NAME: what to call it; merges use up numbers, too
copy()
{
	cat "$out/copies/$1"
}

# look NAME: mount the copy, compare, unmount
look()
{
	mkdir -p "/mnt/$1"
	run shadowctl mount "$(copy "$1")" "/mnt/$1"
	compare "/mnt/$1" "$1"
	run shadowctl unmount "$(copy "$1")"
}

# suffer SEED: changes to the documents
suffer()
{
	local what

	what=$("$files" change $live/documents "$1")
	say "documents: $what"
}

# --- the three boots ---------------------------------------------------------

first()
{
	mkdir -p "$lists" $out/copies
	heading "An NTFS volume gets a diff area"
	run mkntfs -q -Q -F -L Documents "$volume"
	run shadowctl attach "$volume" "$area"
	mount_volume
	"$files" fill $live/documents 1
	say "$(find $live/documents -type f | wc -l) documents written"
	start_writer

	heading "Three shadow copies, while files change"
	take monday
	suffer 2
	take tuesday
	suffer 3
	take wednesday
	suffer 4
	run shadowctl list
	run shadowctl show "$(copy tuesday)"
	run shadowctl storage list

	heading "Every copy holds what was there when it was taken"
	look monday
	look tuesday
	look wednesday

	heading "The middle one is deleted, the others stay right"
	run shadowctl delete --force "$(copy tuesday)"
	run shadowctl list
	look monday
	look wednesday

	heading "Back to the oldest"
	stop_writer
	unmount_volume
	run shadowctl merge --force "$(copy monday)"
	mount_volume
	compare $live monday
	look wednesday
	look monday

	heading "Life goes on, and the machine is shut down"
	start_writer
	suffer 5
	stop_writer
	listing $live/documents >"$lists/volume"
	unmount_volume
	run shadowctl deactivate --all
	run dmsetup ls
}

second()
{
	heading "After the reboot"
	run shadowctl activate
	run shadowctl status
	run shadowctl list
	mount_volume
	compare $live volume
	start_writer
	suffer 6
	look monday
	look wednesday

	heading "One more copy, and the power fails"
	take thursday
	suffer 7
	say "in the middle of all this the machine is switched off, at change $(changes)"
	touch $out/cut
	busybox poweroff -nf
}

third()
{
	heading "After the power cut"
	run shadowctl activate
	run shadowctl status
	run shadowctl list
	look monday
	look wednesday
	look thursday

	heading "The volume itself goes back to the minute before"
	run shadowctl merge --force "$(copy thursday)"
	mount_volume
	compare $live thursday
	look wednesday
	unmount_volume
	run shadowctl deactivate --all
}

start_udev
"$1"
