#!/bin/bash
# Proves that shadowctl killed with -9 at any step of a creation, of one volume
# and of two, leaves no volume suspended, that a hold that lasts too long ends
# by itself within 10 s with no copy taken, and that afterwards the set is whole
# or gone, and creating works.
# timeout: 600
# slowest
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
cli_devices 16 16
o1=$origin a1=$area v1=$vol
cli_devices 16 16
shadowctl attach "$o1" "$a1" >/dev/null
shadowctl attach "$origin" "$PWD/area" --size 16M >/dev/null
v2=$vol

hold=		# seconds until the guard acts, if fewer than usual
stop_at()
{
	SHADOWCTL_TEST_HOLD=$hold SHADOWCTL_TEST_STOP=$1 shadowctl create "${@:2}" >/dev/null 2>err &
	pid=$!
	wait_for stopped $pid
}

writes_go_on()
{
	local v

	for v in "$v1" "$v2"; do
		timeout 5 dd if=/dev/zero of="/dev/mapper/$v" bs=4096 count=1 oflag=direct \
			status=none || fail "writes to $v hang after $step"
		! suspended "$v" || fail "$v is suspended after $step"
	done
}

copies()
{
	shadowctl list | grep -c "^$1@" || true
}

n=0
for step in locked synced guarded suspended-1 suspended created-1 created resumed-1 resumed finished-1; do
	stop_at $step "$v1"
	case $step in
	suspended*|created*) suspended "$v1" || fail "not suspended at $step" ;;
	esac
	kill -9 $pid
	wait $pid 2>/dev/null || true
	wait_for eval "! suspended $v1"
	writes_go_on
	case $step in
	created*|resumed*|finished*) n=$((n + 1)) ;;
	esac
	expect $n "$(copies "$v1")" "copies of one volume after $step"
done
exits 0 shadowctl create "$v1"
exits 0 shadowctl delete --all --force "$v1"

# Two: none, or both
for step in suspended-1 suspended-2 created-1 created-2 resumed-2 resumed committed-1 committed-2; do
	stop_at $step "$v1" "$v2"
	kill -9 $pid
	wait $pid 2>/dev/null || true
	wait_for eval "! suspended $v1 && ! suspended $v2"
	writes_go_on
	# Whoever comes next settles it, here by a new set
	exits 0 shadowctl create "$v2" "$v1"
	case $step in
	committed*) n=2 ;;
	*) n=1 ;;
	esac
	expect "$n $n" "$(copies "$v1") $(copies "$v2")" "copies after $step"
	expect 0 "$(shadowctl -o json list | jq '[.copies[] | select(.state != "valid")] | length')" \
		"copies that are not valid after $step"
	exits 0 shadowctl delete --all --force "$v1" "$v2"
done

# Also by activation, which finds the area in a file only later
for step in created-2 committed-1; do
	stop_at $step "$v2" "$v1"
	kill -9 $pid
	wait $pid 2>/dev/null || true
	wait_for eval "! suspended $v1 && ! suspended $v2"
	shadowctl deactivate --all
	SHADOWCTL_STATE_DIR=$PWD/none exits 0 shadowctl activate
	says 'other volumes of the set are not there'
	expect preparing "$(json 'j["copies"][0]["state"]' list)" "the only copy that is there"
	expect 2 "$(shadowctl activate | wc -l)" "lines of activate"
	case $step in
	committed*) n=1 ;;
	*) n=0 ;;
	esac
	expect "$n $n" "$(copies "$v1") $(copies "$v2")" "copies after $step and activation"
	exits 0 shadowctl delete --all --force "$v1" "$v2"
done

# Too long: it stands still, and goes on after the guard has acted
for step in suspended-1 suspended created-1 created; do
	stop_at $step "$v1" "$v2"
	sleep $((${hold:-9} + 1))
	writes_go_on
	kill -CONT $pid
	rc=0
	wait $pid || rc=$?
	expect 5 $rc "exit status after a hold that was too long at $step: $(cat err)"
	writes_go_on
	expect "0 0" "$(copies "$v1") $(copies "$v2")" "copies after a hold that was too long at $step"
	hold=2
done
exits 0 shadowctl create "$v1" "$v2"
