# shellcheck shell=bash
# shellcheck disable=SC2034 # set here for the tests
# What the tests of the kernel module share; sourced instead of lib.sh.
#
# Unless a test says otherwise there is one origin node, "o", over the devices
# $origin and $area; a copy's node is "c" and its id.  Contents are stamps, see
# `stomp`: "write 7" is what `stomp fill DEV --seq 7` leaves.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LONG=${LONG:-}				# not empty: larger counts
origin='' area='' ID=0
# Removing a node waits for RCU several times; nothing here tests that.
[ ! -w /sys/kernel/rcu_expedited ] || echo 1 >/sys/kernel/rcu_expedited

# count SHORT LONG: which of them this run wants
count()
{
	[ -n "$LONG" ] && echo "$2" || echo "$1"
}

# format_area AREA ORIGIN [OPTION...]: 16 KiB chunks without an option
format_area()
{
	local a=$1 o=$2

	shift 2
	[[ " $* " == *" --chunk-size "* ]] || set -- "$@" --chunk-size 16K
	shadowctl format "$a" --origin "$o" --force "$@" >/dev/null
}

# devices ORIGIN-MIB AREA-MIB [OPTION...]: sets origin and area, formats it
devices()
{
	disk "$1"
	origin=$DEV
	disk "$2"
	area=$DEV
	shift 2
	format_area "$area" "$origin" "$@"
}

# activate_with OPTION...: make "o"
# shellcheck disable=SC2120
activate_with()
{
	dm_create o "0 $(sectors "$origin") shadow-origin $origin $area${1:+ $# $*}"
}

activate()
{
	# shellcheck disable=SC2119
	activate_with
}

deactivate()
{
	dm_remove o
}

# message WORD...: to "o"
message()
{
	dmsetup message o 0 "$@"
}

new_uuid()
{
	cat /proc/sys/kernel/random/uuid
}

# take_with KEY VALUE...: a copy; sets ID
# shellcheck disable=SC2120
take_with()
{
	local rc=0

	dmsetup suspend o
	ID=$(message create "$(new_uuid)" "$@") || rc=$?
	dmsetup resume o
	return $rc
}

take()
{
	# shellcheck disable=SC2119
	take_with
}

# merge ID
merge()
{
	local rc=0

	dmsetup suspend o
	message merge "$1" || rc=$?
	dmsetup resume o
	return $rc
}

# show ID: make its node
show()
{
	dm_create "c$1" "0 $(sectors /dev/mapper/o) shadow $origin $area $1"
}

hide()
{
	dm_remove "c$1"
}

# holds ID SEQ: all of a copy is write SEQ
holds()
{
	show "$1"
	stomp verify "/dev/mapper/c$1" --seq "$2" || fail "copy $1 is not write $2"
	hide "$1"
}

# ids: of the copies, oldest first, in one line
ids()
{
	message list | awk '{ printf "%s%s", n++ ? " " : "", $1 } END { print "" }'
}

# listed ID FIELD: one field of its line in the list
listed()
{
	message list "$1" | awk -v n="$2" '{ print $n }'
}

status()
{
	dm_status o "$1"
}

used()
{
	status 4 | cut -d / -f 1
}

# says PATTERN COMMAND...: the command fails, and the kernel log tells why
says()
{
	local pattern=$1 mark="dms-test: mark $RANDOM$RANDOM" told

	shift
	echo "$mark" >/dev/kmsg
	! "$@" >/dev/null 2>&1 || fail "succeeded: $*"
	told=$(dmesg | sed "1,/$mark/d" | sed 's/^\[[^]]*\] //')
	grep -qiE -- "$pattern" <<<"$told" ||
		fail "'$*': expected /$pattern/ in the kernel log, found: ${told:-nothing}"
}

# bad_table PATTERN TABLE: is refused, for that reason
bad_table()
{
	says "$1" dmsetup create bad --table "$2"
	! dmsetup info bad >/dev/null 2>&1 || dmsetup remove bad
}

# bad_message PATTERN WORD...: is refused, for that reason, and changes nothing
bad_message()
{
	local pattern=$1 before after

	shift
	before=$(message list; status 6; status 9)
	says "$pattern" message "$@"
	after=$(message list; status 6; status 9)
	expect "$before" "$after" "after the refused '$*'"
}

merge_done()
{
	[ "$(status 24)" = - ]
}

# block_of TYPE: the first block of the area that is one, see `blocks list`
block_of()
{
	blocks list "$area" | awk -v t="$1" '$1 == t { print $2; exit }'
}
