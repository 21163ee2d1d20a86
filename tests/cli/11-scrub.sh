#!/bin/bash
# Proves that `shadowctl scrub` waits, tells how far it is and what it found, by
# exit status, words and JSON; that list and show name the damaged copy; that it can
# be left alone, watched and stopped.
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
cli_devices 16 32
exits 4 shadowctl scrub nonsense
exits 0 shadowctl attach "$origin" "$area"
expect none "$(json 'j["state"]' scrub --status "$vol")" "state before"
stomp fill "/dev/mapper/$vol" --seq 1
exits 0 shadowctl create "$vol"
stomp fill "/dev/mapper/$vol" --seq 2
exits 0 shadowctl create "$vol"
stomp fill "/dev/mapper/$vol" --seq 3 --start 16000 --count 64

exits 0 shadowctl scrub "$vol"
says 'no damage'
expect "done 1024 1024 100 $((16416 << 10)) 0" "$(json '" ".join(str(j[k]) for k in
	("state", "done", "total", "percent", "bytes", "damaged_chunks"))' scrub --status "$vol")" status
expect "done 1024 $((16416 << 10))" "$(json '" ".join(str(j["volumes"][0][k]) for k in
	("scrub", "scrub_done", "scrub_bytes"))' status "$vol")" "in status"

# A chunk of each copy
for stamp in "1 16000" "2 16032"; do
	block=$(stomp where "$area" "${stamp#* }" --seq "${stamp% *}")
	blocks damage "$area" "$block" 200
done
exits 6 shadowctl scrub "$vol" --rate 0
says '2 chunks of saved data are damaged'
expect "damaged damaged" "$(json '" ".join(c["state"] for c in j["copies"])' list)" states
expect "1 1" "$(json '" ".join(str(c["damaged_chunks"]) for c in j["copies"])' list)" chunks
shadowctl list | grep -q 'damaged' || fail "list: $(shadowctl list)"
shadowctl show "$vol@1" | grep -qE '^Damaged chunks: +1$' || fail "show: $(shadowctl show "$vol@1")"

# Events: valid JSON each, the last says what was found
shadowctl -o json scrub "$vol" --rate 4M >events && fail "no damage found"
python3 - <<-'END'
	import json
	events = [json.loads(line) for line in open("events")]
	assert len(events) > 2 and {e["event"] for e in events[:-1]} == {"scrubbing"}, events
	done = [e["done"] for e in events]
	assert done == sorted(done) and len(set(done)) > 2, done
	last = events[-1]
	assert last["event"] == "scrubbed" and last["damaged_chunks"] == 2 and last["done"] == last["total"], last
END

exits 0 shadowctl scrub --no-wait --rate 1K "$vol"
exits 5 shadowctl scrub "$vol"
says 'under way'
expect running "$(json 'j["state"]' scrub --status "$vol")" state
exits 0 shadowctl scrub --stop "$vol"
expect stopped "$(json 'j["state"]' scrub --status "$vol")" state
exits 0 shadowctl scrub --stop "$vol"
rc=0
shadowctl scrub --rate 1K "$vol" 2>said &
pid=$!
running()
{
	[ "$(json 'j["state"]' scrub --status "$vol")" = running ]
}
wait_for running
exits 0 shadowctl scrub --stop "$vol"
wait $pid || rc=$?
expect 8 $rc "exit status of what was stopped"
grep -q 'was stopped' said || fail "it said: $(cat said)"
shadowctl deactivate --all
