# shellcheck shell=bash
# What the tests of shadowctl share; sourced behind lib.sh.

export SHADOWCTL_STATE_DIR=$PWD/state
requires shadowctl python3 jq
# Removing a node waits for RCU several times; nothing here tests that.
[ ! -w /sys/kernel/rcu_expedited ] || echo 1 >/sys/kernel/rcu_expedited

# Whatever a test leaves active goes at its end.
cli_cleanup()
{
	local d

	for d in /run/shadowctl/*; do
		! mountpoint -q "$d" || umount "$d"
	done
	dmsetup ls 2>/dev/null | sed -n 's/^\(.*\)\t.*/\1/p' | while read -r d; do
		dmsetup resume "$d"
	done
	shadowctl -q deactivate --all
}

# cli_devices MIB-VOLUME MIB-AREA: sets origin, area, vol (its name)
cli_devices()
{
	disk "$1"; origin=$DEV
	disk "$2"
	# shellcheck disable=SC2034 # for the caller
	area=$DEV
	# shellcheck disable=SC2034
	vol=shadow-${origin#/dev/}
	cleanup cli_cleanup
}

# make_ntfs DEVICE [LABEL]
make_ntfs()
{
	requires mkfs.ntfs
	mkfs.ntfs -q -F -f -L "${2:-Daten}" "$1" >/dev/null 2>&1
}

# mount_ntfs DEVICE DIR: by ntfs-3g, which every kernel can
mount_ntfs()
{
	requires ntfs-3g
	need_module fuse
	mkdir -p "$2"
	ntfs-3g "$1" "$2"
	cleanup unmount_dir "$2"
}

unmount_dir()
{
	! mountpoint -q "$1" || retry umount "$1"
}

# exits STATUS COMMAND...: it ends with that; what it said is in the variable said
exits()
{
	local want=$1 rc=0

	shift
	said=$("$@" 2>&1 >/dev/null </dev/null) || rc=$?
	[ $rc -eq "$want" ] || fail "'$*' ended with $rc, not $want: $said"
	[ $rc -eq 0 ] || [[ $said == shadowctl:\ * ]] || fail "'$*' said: $said"
}

# says PATTERN: the last command of exits did
says()
{
	# shellcheck disable=SC2053
	[[ $said == *$1* ]] || fail "wanted *$1*, it said: $said"
}

# json EXPRESSION ARGUMENT...: of shadowctl's JSON output, in Python the variable j
json()
{
	local expr=$1 plain='^j((\[[^][]+\])+)$' length='^len\(j((\[[^][]+\])+)\)$'

	shift
	# jq starts ten times as fast, and knows these, too.
	if [[ $expr =~ $plain ]]; then
		shadowctl -o json "$@" | jq -r ".${BASH_REMATCH[1]}"
		return
	elif [[ $expr =~ $length ]]; then
		shadowctl -o json "$@" | jq ".${BASH_REMATCH[1]} | length"
		return
	fi
	shadowctl -o json "$@" | python3 -c "
import json, sys
j = json.load(sys.stdin)
v = $expr
print(str(v).lower() if isinstance(v, bool) else v)"
}

# suspended NODE
suspended()
{
	dmsetup info -c --noheadings -o suspended "$1" | grep -qi suspended
}

# stopped PID: by SHADOWCTL_TEST_STOP
stopped()
{
	grep -q '^State:.*T (stopped)' "/proc/$1/status" 2>/dev/null
}
