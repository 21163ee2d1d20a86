#!/bin/bash
# Proves that a damaged metadata block of any kind never leads to wrong data, a
# crash, or harm to the origin: activation refuses with a reason, or goes on
# with what can be read, and a copy is right or gives an error.  A single
# superblock may be damaged without loss.  (That the journal's last block is
# damaged can't be told from its never having been written.)
# timeout: 600
# dmesg: EILSEQ|checksum
# slowest
. "$(dirname "$0")/../shadow.sh"
. "$(dirname "$0")/layers.sh"
layered
deactivate

# judge WHAT: nothing lies, and the origin is as it was
judge()
{
	local id flags what=$1 mark="dms-test: mark $RANDOM$RANDOM"

	echo "$mark" >/dev/kmsg
	if ! nodes make o "$origin" shadow-origin "$origin" "$area" 2>/dev/null; then
		dmesg | sed "1,/$mark/d" | grep -q 'device-mapper: table: .*: shadow-origin: [^U]' ||
			fail "$what: refused without a reason"
		same origin.image "$origin" || fail "$what: refused, but the origin was written"
		echo "$what: refused"
		return
	fi
	cmp /dev/mapper/o origin.image || fail "$what: the origin differs"
	message list >copies
	while read -r id _ _ _ _ _ flags _; do
		[[ $flags == *[is]* ]] || copy_reads "$id" || true
	done <copies
	stomp scatter /dev/mapper/o --seq 5 --stride 16K
	[[ $(<copies) != "$first "* ]] || copy_reads "$first" || true
	nodes drop o
	put origin.image "$origin"
	echo "$what: taken, $(wc -l <copies) copies"
}

back
activate
expect recovered "$(status 26)" "how the image is found"
expect "$first $second $third" "$(ids)" "copies in the image"
deactivate
put area.image "$area"
blocks list "$area" >found
cut -d ' ' -f 1 found | sort | uniq -c
for kind in super root shadow bitmap node leaf exempt-leaf journal; do
	mapfile -t at < <(awk -v t=$kind '$1 == t { print $2 }' found)
	[ ${#at[@]} -gt 0 ] || fail "no $kind in the area"
	# Without its last block the journal is one that ended there.
	[ $kind != journal ] || unset 'at[-1]'
	for block in "${at[0]}" ${at[1]:+"${at[-1]}"}; do
		put area.image "$area"
		blocks damage "$area" "$block"
		judge "$kind $block damaged"
	done
	put area.image "$area"
	blocks zero "$area" "${at[0]}"
	judge "$kind zeroed"
	# Numbers that make no sense, under a right checksum
	put area.image "$area"
	blocks set "$area" "${at[0]}" 52 4 4294967295
	judge "$kind with a count of 4294967295"
	put area.image "$area"
	blocks set "$area" "${at[0]}" 80 8 18446744073709551615
	judge "$kind with a wild field"
done
# One superblock damaged: the other leads to a state not older than the last
# checkpoint but one, whose journal is still there.
put area.image "$area"
activate
deactivate
blocks damage "$area" "$(blocks list "$area" | awk '$1 == "super" { print $2 }')"
activate
[[ " $(ids) " == *" $first $second "* ]] || fail "copies by the older superblock: $(ids)"
deactivate
