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

# wrapped_area MIB: sets area, a node over the disk $real of $n sectors, which is to fail
wrapped_area()
{
	disk "$1"
	real=$DEV
	n=$(sectors "$real")
	dm_create area "0 $n linear $real 0"
	area=/dev/mapper/area
}

# area_with FIRST COUNT TARGET: these sectors go to another target
area_with()
{
	local end=$(($1 + $2)) table=

	[ "$1" -eq 0 ] || table+="0 $1 linear $real 0"$'\n'
	table+="$1 $2 $3"
	[ "$end" -eq "$n" ] || table+=$'\n'"$end $((n - end)) linear $real $end"
	dm_reload area "$table"
}

# area_error FIRST [COUNT]: no I/O there; without a count up to the end
area_error()
{
	area_with "$1" "${2:-$((n - $1))}" error
}

# area_takes_no_writes FIRST: from there on; needs the target flakey
area_takes_no_writes()
{
	area_with "$1" $((n - $1)) "flakey $real $1 0 1000 1 error_writes"
}

area_back()
{
	dm_reload area "0 $n linear $real 0"
}

# power_cut: the wrapped area is as it is now, "o" is gone
power_cut()
{
	sync "$real"
	cp "$real" crashed
	deactivate
	dd if=crashed of="$real" bs=1M oflag=direct status=none
}

# node NAME SECTORS|DEVICE TARGET [PARAMETER...]: make it, and take it away in the
# end unless the test does by unnode
declare -A made
node()
{
	nodes make "$@"
	[ -n "${made[$1]-}" ] || cleanup unnode "$1"
	made[$1]=y
}

unnode()
{
	[ -n "${made[$1]-}" ] || return 0
	nodes drop "$1"
	unset "made[$1]"
}

# activate_with OPTION...: make "o"
# shellcheck disable=SC2120
activate_with()
{
	node o "$origin" shadow-origin "$origin" "$area" ${1:+$# "$@"}
}

activate()
{
	# shellcheck disable=SC2119
	activate_with
}

deactivate()
{
	unnode o
}

# message WORD...: to "o"
message()
{
	dmsetup message o 0 "$@"
}

new_uuid()
{
	local uuid

	read -r uuid </proc/sys/kernel/random/uuid
	echo "$uuid"
}

# take_with KEY VALUE...: a copy; sets ID
# shellcheck disable=SC2120
take_with()
{
	ID=$(nodes take o "$@")
}

take()
{
	# shellcheck disable=SC2119
	take_with
}

# merge ID
merge()
{
	nodes merge o "$1"
}

# show ID: make its node
show()
{
	node "c$1" /dev/mapper/o shadow "$origin" "$area" "$1"
}

hide()
{
	unnode "c$1"
}

# holds ID SEQ: all of a copy is write SEQ
holds()
{
	nodes holds o "$origin" "$area" "$1" "$2" || fail "copy $1 is not write $2"
}

# ids: of the copies, oldest first, in one line
ids()
{
	nodes ids o
}

# listed ID FIELD: one field of its line in the list
listed()
{
	nodes listed o "$1" "$2"
}

# status FIELD...: of "o"
status()
{
	nodes status o "$@"
}

used()
{
	local chunks

	chunks=$(status 4)
	echo "${chunks%/*}"
}

# events: of "o", so far
events()
{
	dmsetup info -c --noheadings -o events o
}

# event_since COUNT WHAT
event_since()
{
	timeout 20 dmsetup wait o "$1" || fail "no event: $2"
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
	local words

	read -ra words <<<"$2"
	nodes bad-table "$1" "${words[@]:1}" || fail "table '$2'"
}

# bad_message PATTERN WORD...: is refused, for that reason, and changes nothing
bad_message()
{
	nodes bad-message "$1" o "${@:2}" || fail "message '${*:2}'"
}

# sound WHAT AREA: check finds no damage in it and nothing lost
sound()
{
	shadowctl check --data "$2" >out || { cat out; fail "$1: check found something"; }
	! grep -E '^(damage|warning)' out || fail "$1: check found something"
	echo "$1: $(tail -n 1 out)"
}

# scrub_is STATE
scrub_is()
{
	[ "$(status 27)" = "$1" ]
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
