# shellcheck shell=dash
# The targets compared, sourced by init in the guest.
#
# setup NAME N	make /dev/mapper/org of origin ODEV (OSZ sectors) and diff
#		device DDEV (DSZ sectors), where N copies will be taken
# take N	take N copies, at one instant; `copy` is then the oldest's node
# merge		the origin becomes the oldest copy; returns when all has moved
# teardown	remove all of it
#
# shellcheck disable=SC2153 # set by init

setup()
{
	T=$1
	TAKEN=0
	case $T in
	linear) dmsetup create org --table "0 $OSZ linear $ODEV 0" ;;
	snap*) snap_setup "$2" ;;
	thin) thin_setup ;;
	shadow*) shadow_setup ;;
	*) echo "bench: no target $T"; return 1 ;;
	esac
}

take()
{
	TAKEN=$1
	[ "$1" -gt 0 ] || return 0
	"${T%%[!a-z]*}_take"
}

merge()
{
	"${T%%[!a-z]*}_merge"
}

teardown()
{
	local name

	dmsetup remove copy 2>/dev/null
	dmsetup remove org || return
	# The order of names is an order to remove in.
	for name in $(dmsetup ls | awk '/\t/ { print $1 }' | sort); do
		dmsetup remove "$name" || return
	done
}

resume()
{
	local name rc=0

	for name; do
		dmsetup resume "$name" || rc=1
	done
	return $rc
}

# --- dm-snapshot, 16 KiB chunks; each copy has its part of the diff device ---
# snapP: persistent, snapN: not

snap_setup()
{
	PER=$((DSZ / ($1 ? $1 : 1) / 128 * 128))
	dmsetup create org --table "0 $OSZ snapshot-origin $ODEV"
}

snap_take()
{
	local i=0 names='' name

	while [ $i -lt "$TAKEN" ]; do
		name=copy
		[ $i = 0 ] || name=s$i
		dmsetup create z$i --table "0 $PER linear $DDEV $((i * PER))" &&
		dd if=/dev/zero of=/dev/mapper/z$i bs=16k count=1 2>/dev/null &&
		sync &&
		dmsetup create $name --notable &&
		dmsetup load $name --table \
			"0 $OSZ snapshot $ODEV /dev/mapper/z$i ${T#snap} 32" || return
		names="$names $name"
		i=$((i + 1))
	done
	dmsetup suspend org
	# shellcheck disable=SC2086 # words
	resume $names org
}

snap_merge()
{
	dmsetup remove copy &&
	dmsetup load org --table "0 $OSZ snapshot-merge $ODEV /dev/mapper/z0 P 32" &&
	dmsetup suspend org && resume org || return
	# org: 0 LENGTH snapshot-merge USED/TOTAL METADATA
	while ! dmsetup status org | awk '{ split($4, a, "/"); exit a[1] != $5 }'; do
		usleep 300000
	done
}

# --- dm-thin, 64 KiB blocks ---
# The pool's data are the origin device, then the diff device but for its first
# 32 MiB, the metadata.  The origin is a thin volume mapped in order.

thin_setup()
{
	local md=65536

	dd if=/dev/zero of="$DDEV" bs=64k count=1 2>/dev/null
	sync
	dmsetup create zmeta --table "0 $md linear $DDEV 0" &&
	dmsetup create zdata --table "0 $OSZ linear $ODEV 0
$OSZ $((DSZ - md)) linear $DDEV $md" &&
	dmsetup create pool --table "0 $((OSZ + DSZ - md)) thin-pool /dev/mapper/zmeta /dev/mapper/zdata 128 0 1 skip_block_zeroing" &&
	dmsetup message pool 0 create_thin 0 &&
	dmsetup create org --table "0 $OSZ thin /dev/mapper/pool 0" &&
	fio --name=map --filename=/dev/mapper/org --rw=write --bs=1m --direct=1 \
		--thread --eta=never >map.log
}

thin_take()
{
	local i=1 rc=0

	dmsetup suspend org
	while [ $i -le "$TAKEN" ]; do
		dmsetup message pool 0 "create_snap $i 0" || rc=1
		i=$((i + 1))
	done
	resume org && [ $rc = 0 ] &&
	dmsetup create copy --table "0 $OSZ thin /dev/mapper/pool 1"
}

# --- dm-shadow ---
# shadow: persistent, shadowV: volatile; with -4K and the like: chunks of 4 KiB

# shadow_format NAME: for the target of that name
shadow_format()
{
	local chunk=16K volatile=

	case $1 in *-*) chunk=${1#*-} ;; esac
	case $1 in shadowV*) volatile=--volatile ;; esac
	# shellcheck disable=SC2086 # none, or one word
	shadowctl format "$DDEV" --origin "$ODEV" --chunk-size "$chunk" \
		$volatile --force >/dev/null
}

shadow_setup()
{
	shadow_format "$T" &&
	dmsetup create org --table "0 $OSZ shadow-origin $ODEV $DDEV"
}

shadow_take()
{
	local i=0 rc=0

	dmsetup suspend org
	while [ $i -lt "$TAKEN" ]; do
		dmsetup message org 0 create "$(cat /proc/sys/kernel/random/uuid)" \
			>created || rc=1
		i=$((i + 1))
	done
	resume org && [ $rc = 0 ] || return
	OLDEST=$(dmsetup message org 0 list | awk 'NR == 1 { print $1 }')
	dmsetup create copy --table "0 $OSZ shadow $ODEV $DDEV $OLDEST"
}

shadow_merge()
{
	dmsetup remove copy &&
	dmsetup suspend org || return
	dmsetup message org 0 merge "$OLDEST" || { resume org; return 1; }
	resume org || return
	# The 24th field behind START LENGTH TARGET
	while [ "$(dmsetup status org | awk '{ print $27 }')" != - ]; do
		usleep 300000
	done
}
