#!/bin/bash
# Proves that scrubs, one after the other, find no damage where there is none
# while random operations go on beside them (writes, creations, deletions, merges,
# reactivations; in a diff area with room, and in one that is full all the time,
# whose space is used again at once), and that all copies hold what they should.
# timeout: 900
# slowest
. "$(dirname "$0")/../shadow.sh"

# scrubs FILE: start one after the other, noting how the one before ended, while
# FILE is there
scrubs()
{
	local state line

	while [ -e "$1" ]; do
		line=$(dmsetup status --noflush stomp-origin 2>/dev/null | cut -d ' ' -f 30-) || true
		state=${line%% *}
		[ -z "$state" ] || [ "$state" = running ] ||
			dmsetup message stomp-origin 0 scrub start 2>/dev/null || true
		case $state in 'done' | failed) echo "$line" >>"$1" ;; esac
		sleep 0.05
	done
}

# beside WHAT OPTION...: stomp run with scrubs
beside()
{
	local what=$1 pid

	shift
	: >ended
	scrubs ended &
	pid=$!
	stomp run "$origin" "$area" --seed "$SEED" "$@"
	mv ended told
	wait $pid
	awk -v what="$what" '
		{ n[$1]++; kib += $3; bad += $4 }
		END { print what ": scrubs done", n["done"] + 0, "failed", n["failed"] + 0,
			"KiB", kib + 0, "damaged", bad + 0
			exit n["done"] < 3 || n["failed"] || !kib || bad }' told ||
		fail "$what: $(sort told | uniq -c)"
	sound "$what" "$area"
}

devices 16 256
beside roomy --ops "$(count 1500 30000)" --copies 10 --writers 2 --readers 1
devices 8 10 --chunk-size 4K
beside small --ops "$(count 1000 20000)" --copies 40 --limit 2540
