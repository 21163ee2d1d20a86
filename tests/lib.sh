# shellcheck shell=bash
# What the guest tests share; sourced first by each of them.
#
# A test is tests/GROUP/NN-what-it-proves.sh: one proof a file, run by
# tests/run as root in a virtual machine in which the module is loaded, in the
# test's own empty directory on a tmpfs.  It looks like this:
#
#	#!/bin/bash
#	# Proves that a write to the origin leaves the shadow copy as it was:
#	# takes a copy, overwrites every chunk, compares.
#	# timeout: 300			(seconds; 180 without this line)
#	# slow				(6.1 and the debug kernel only)
#	# slowest			(the debug kernel only)
#	# dmesg: device is full|EILSEQ	(lines that are no failure; a regex)
#	. "$(dirname "$0")/../lib.sh"
#	requires fio cmp
#	disk 64; origin=$DEV
#	dm_create o "0 $(sectors "$origin") linear $origin 0"
#	...
#	[ "$a" = "$b" ] || fail "copy changed: $a became $b"
#
# Commands that fail end the test (set -e), so does fail.  Exit status 0: pass,
# 4: skipped (skip REASON), anything else: failed.  What a helper makes it takes
# away again at the end, in reverse order; for more use cleanup.  The runner
# fails a test that leaves device-mapper devices behind, or a warning in the
# kernel log.
#
# Helpers that make a device set DEV.  Random tests take their seed from SEED,
# which is printed, so that SEED=n tests/run NAME repeats a run.
#
# Given by the runner: TOP the checkout, DMS_KO the module's file, KERNEL which
# kernel (6.1, 6.12, 7, uml); shadowctl and the programs of tests/src are in
# PATH.
set -euo pipefail

: "${TOP:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)}"
: "${SEED:=$EPOCHSECONDS}"
export TOP SEED PATH="$TOP/userspace:$TOP/tests/src:$PATH"
echo "seed $SEED"
RANDOM=$SEED
DEV=

fail()
{
	local i

	echo "FAIL: $*"
	for ((i = 1; i < ${#FUNCNAME[@]}; i++)); do
		echo "  in ${FUNCNAME[i]}, ${BASH_SOURCE[i]##*/}:${BASH_LINENO[i - 1]}"
	done
	exit 1
}

skip()
{
	echo "SKIP: $*"
	exit 4
}

# --- what a test needs -------------------------------------------------------

# requires PROGRAM...
requires()
{
	local p

	for p; do
		command -v "$p" >/dev/null || skip "no program $p"
	done
}

# need_module NAME [PARAMETER=VALUE...]: load it, or have it built in
need_module()
{
	[ -d "/sys/module/${1//-/_}" ] && [ $# -eq 1 ] && return
	modprobe "$@" 2>/dev/null || skip "no module $1 in $(uname -r)"
}

# need_target NAME [MAJOR.MINOR.PATCH]: a device-mapper target, at least so new
need_target()
{
	local have

	case $1 in
	shadow*) ;;
	recorder|failnth) [ -d "/sys/module/dm_$1" ] ||
		insmod "$TOP/build/$KERNEL/targets/dm-$1.ko" ;;
	*) modprobe -q "dm-$1" || true ;;
	esac
	have=$(dmsetup targets | awk -v t="$1" '$1 == t { print substr($2, 2) }')
	[ -n "$have" ] || skip "no target $1 in $(uname -r)"
	[ -z "${2:-}" ] || [ "$(printf '%s\n' "$2" "$have" | sort -V | head -n 1)" = "$2" ] ||
		skip "target $1 is $have, older than $2"
}

# shellcheck disable=SC2317 # called by the trap
stop_udev()
{
	local n

	udevadm control --exit
	# A worker that is busy goes on, and may take away what the next test has made.
	for ((n = 0; n < 60; n++)); do
		if ! pgrep udev >/dev/null; then
			rm -f /run/udev/control
			return 0
		fi
		# The daemon has been seen to sleep on when it was alone; workers must end.
		[ $n -ne 50 ] || pgrep udev-worker >/dev/null || pkill -KILL udevd
		sleep 0.2
	done
	ps -e -o pid,stat,etimes,args
	pkill -KILL udev
	return 1
}

# need_udev: run udevd for this test, for links by uuid and the like
need_udev()
{
	[ -x /lib/systemd/systemd-udevd ] || skip "no udevd"
	/lib/systemd/systemd-udevd --daemon
	cleanup stop_udev
	unset DM_DISABLE_UDEV
	udevadm trigger --action=add
	udevadm settle
}

# --- cleaning up -------------------------------------------------------------

cleanups=()

# cleanup COMMAND...: run it when the test ends, however it ends
cleanup()
{
	local words

	printf -v words '%q ' "$@"
	cleanups+=("$words")
}

# state: what a failing test leaves to whoever has to find out why
# shellcheck disable=SC2317 # called by the trap
state()
{
	local command

	for command in 'dmsetup info -c' 'dmsetup table' 'dmsetup status' 'ls -l /dev/mapper' \
		'ps --deselect --ppid 2 -o pid,ppid,stat,etimes,args'; do
		echo "# $command"
		eval "timeout 10 $command"
	done 2>&1
}

# shellcheck disable=SC2317 # called by the trap
run_cleanups()
{
	local rc=$? i

	set +e
	trap - EXIT
	[ "$rc" -eq 0 ] || [ "$rc" -eq 4 ] || state
	[ "$rc" -eq 0 ] || [ "$rc" -eq 4 ] || [ "$rc" -eq 1 ] || echo "ended with status $rc"
	for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do
		eval "${cleanups[i]}" || {
			echo "cleanup failed: ${cleanups[i]}"
			[ "$rc" -ne 0 ] && [ "$rc" -ne 4 ] || rc=1
		}
	done
	exit "$rc"
}
trap run_cleanups EXIT
trap 'echo "FAIL: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
trap 'exit 143' TERM INT
set -E

# --- disks in memory ---------------------------------------------------------

# disk MIB: a loop device on a tmpfs file; takes discards, refuses write-zeroes
disk()
{
	local file

	file=$(mktemp "${TMPDIR:-/tmp}/disk.XXXXXX")
	truncate -s "$1M" "$file"
	cleanup rm -f "$file"
	need_module loop
	DEV=$(losetup --show -f "$file")
	cleanup losetup -d "$DEV"
}

# null_disk MIB [ATTRIBUTE=VALUE...]: a null_blk that keeps what is written, with
# attributes as in its configfs (cache_size=MIB for a volatile write cache,
# discard=1, irqmode=2 completion_nsec=N for a slow one, badblocks=...)
null_disk()
{
	local dir n=0 a mib=$1

	shift
	[ -d /sys/module/null_blk ] || need_module null_blk nr_devices=0
	mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
	while ! mkdir "/sys/kernel/config/nullb/dms$n" 2>/dev/null; do
		n=$((n + 1))
		[ $n -lt 100 ] || skip "null_blk makes no devices"
	done
	dir=/sys/kernel/config/nullb/dms$n
	cleanup rmdir $dir
	echo "$mib" >$dir/size
	echo 1 >$dir/memory_backed
	for a; do
		[ -e "$dir/${a%%=*}" ] || skip "this null_blk has no ${a%%=*}"
		echo "${a#*=}" >"$dir/${a%%=*}"
	done
	echo 1 >$dir/power
	DEV=/dev/nullb$(cat $dir/index)
	[ -b "$DEV" ] || DEV=/dev/dms$n		# newer ones take the folder's name
	[ -b "$DEV" ] || fail "no device node for $dir"
}

# rotates DISK 0|1: what the kernel thinks of it
rotates()
{
	echo "$2" >"/sys/class/block/$(basename "$1")/queue/rotational"
}

# --- device-mapper -----------------------------------------------------------

# dm_create NAME TABLE [dmsetup's options]: TABLE may have several lines
dm_create()
{
	local name=$1 table=$2

	shift 2
	dmsetup create "$name" "$@" <<<"$table"
	cleanup dm_gone "$name"
	# shellcheck disable=SC2034 # for the caller
	DEV=/dev/mapper/$name
}

# dm_reload NAME TABLE: suspend, put the new table in, resume
dm_reload()
{
	dmsetup suspend "$1"
	dmsetup load "$1" <<<"$2" || { dmsetup resume "$1"; return 1; }
	dmsetup resume "$1"
}

dm_remove()
{
	dmsetup remove --retry "$1"
}

# dm_gone NAME: remove it unless the test did
dm_gone()
{
	! dmsetup info "$1" >/dev/null 2>&1 || dm_remove "$1"
}

# dm_status NAME FIELD: one field of its status, counted from 1 after the name
# of the target
dm_status()
{
	dmsetup status "$1" | awk -v n="$2" '{ print $(n + 3) }'
}

# wait_for COMMAND...: until the command succeeds, at most 60 s
wait_for()
{
	local n

	for ((n = 0; n < 300; n++)); do
		! "$@" || return 0
		sleep 0.2
	done
	fail "never came true: $*"
}

# retry COMMAND...: a few times, for what is busy for a moment
retry()
{
	local n

	for ((n = 0; n < 25; n++)); do
		! "$@" 2>/dev/null || return 0
		sleep 0.2
	done
	"$@"
}

# --- observing ---------------------------------------------------------------

sectors()
{
	blockdev --getsz "$1"
}

# devstat DEV [FIELD]: its counters since it was made, from /sys/block/*/stat;
# reads, read_sectors, writes, write_sectors, discards, discard_sectors, flushes
devstat()
{
	local dev r rs w ws d ds f

	dev=$(basename "$(readlink -f "$1")")
	read -r r _ rs _ w _ ws _ _ _ _ d _ ds _ f _ <"/sys/class/block/$dev/stat"
	case ${2:-all} in
	reads) echo "$r" ;;
	read_sectors) echo "$rs" ;;
	writes) echo "$w" ;;
	write_sectors) echo "$ws" ;;
	discards) echo "$d" ;;
	discard_sectors) echo "$ds" ;;
	flushes) echo "$f" ;;
	all) echo "reads $r read_sectors $rs writes $w write_sectors $ws" \
		"discards $d discard_sectors $ds flushes $f" ;;
	*) fail "devstat has no $2" ;;
	esac
}

# sum FILE-OR-DEVICE: of what is on the medium, past the page cache
sum()
{
	blockdev --flushbufs "$1" 2>/dev/null || true
	sha256sum <"$1" | cut -d ' ' -f 1
}

# expect WANTED GOT WHAT
expect()
{
	[ "$1" = "$2" ] || fail "$3: expected '$1', got '$2'"
}

# refuses COMMAND...: it must fail, and the test goes on
refuses()
{
	! "$@" || fail "succeeded: $*"
}
