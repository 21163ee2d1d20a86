#!/bin/bash
# Proves that check finds nothing wrong with what the kernel wrote, be it
# deactivated or cut off at any time (a merge under way, copies deleted, exempt
# runs loaded), saved data included; that it finds damage in every kind of
# block; and that the copy it names for damaged data is the one whose read
# fails.
# timeout: 300
# dmesg: EILSEQ|checksum
# slow
. "$(dirname "$0")/../shadow.sh"
requires shadowctl cmp jq
devices 4 16 --chunk-size 4K
stomp fill "$origin" --seq 1
activate

# image: what is on the medium now, as a crash would leave it
image()
{
	dd if="$area" of=image bs=1M iflag=direct status=none
}

# cut WHAT: that is sound
cut()
{
	image
	sound "$1" image
	shadowctl dump image >dumped || fail "$1: no dump"
}

cut "empty, active"
take
first=$ID
message exempt "$first" begin
message exempt "$first" run 500 8 700 100
message exempt "$first" end
cut "a copy with exempt runs"
stomp scatter /dev/mapper/o --seq 2 --stride 8K --shuffle
cut "saved"
take
second=$ID
stomp scatter /dev/mapper/o --seq 3 --stride 12K --shuffle
cut "saved for two"
message checkpoint
cut "after a checkpoint"
take
stomp scatter /dev/mapper/o --seq 4 --stride 64K
cut "a journal behind the checkpoint"
merge "$second"
cut "merging"
stomp scatter /dev/mapper/o --seq 5 --stride 20K
cut "written while merging"
wait_for merge_done
cut "merged"
take
message delete "$second"
cut "deleted"
stomp scatter /dev/mapper/o --seq 6 --stride 16K --shuffle
message checkpoint
cut "reclaiming"
message checkpoint
cut "reclaimed"
deactivate
sound "deactivated" "$area"
shadowctl -o json dump "$area" | jq -e '.root.epoch > 0' >/dev/null || fail "no JSON"
activate
cut "activated again"
stomp scatter /dev/mapper/o --seq 7 --stride 24K
sync /dev/mapper/o
image
! shadowctl check "$area" 2>err || fail "check of an area in use"
grep -q 'in use' err || fail "not in use: $(cat err)"
deactivate

# --- damage of every kind ----------------------------------------------------

blocks list image >found
for kind in super root shadow bitmap node leaf exempt-leaf; do
	mapfile -t at < <(awk -v t=$kind '$1 == t { print $2 }' found)
	[ ${#at[@]} -gt 0 ] || fail "no $kind in the area"
	cp image bad
	blocks damage bad "${at[0]}"
	rc=0
	shadowctl check bad >out 2>&1 || rc=$?
	expect 6 $rc "status of check, $kind ${at[0]} damaged"
	echo "$kind ${at[0]}: $(grep '^damage' out | head -n 1)"
done

# --- damaged data --------------------------------------------------------------

where=$(shadowctl -o json dump image |
	jq '[.index[].entries[] | select(.kind == "data" and .chunk < 450)][5].where')
dd if=/dev/urandom of=image bs=4096 seek="$where" count=1 conv=notrunc status=none
rc=0
shadowctl -o json check --data image >out 2>/dev/null || rc=$?
expect 6 $rc "status of check with damaged data"
copy=$(jq '[.findings[] | select(.object == "data")][0].copies[0]' out)
chunk=$(jq '[.findings[] | select(.object == "data")][0].first_chunk' out)
[ "$copy" != null ] || fail "no copy is named: $(cat out)"
echo "data of chunk $chunk is damaged, for copy $copy"
dd if=image of="$area" bs=1M oflag=direct status=none
activate
show "$copy"
! dd if="/dev/mapper/c$copy" of=/dev/null bs=4096 skip="$chunk" count=1 iflag=direct \
	status=none 2>/dev/null || fail "copy $copy can be read there"
dd if="/dev/mapper/c$copy" of=/dev/null bs=4096 skip=$((chunk + 1)) count=1 iflag=direct status=none
