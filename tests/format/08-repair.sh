#!/bin/bash
# Proves that the kernel activates what check --repair made of a damaged diff
# area: damage of each kind is repaired, the area is sound then; copies that are
# still good read right, or give an error where check said so; volume and new
# copies work on it; and an area in use is refused.
# timeout: 300
# dmesg: EILSEQ|checksum|damaged
# slow
. "$(dirname "$0")/../shadow.sh"
. "$(dirname "$0")/layers.sh"
requires jq
layered
! shadowctl check --repair --force "$area" 2>err || fail "repair of an area in use"
grep -q 'in use' err || fail "not in use: $(cat err)"
deactivate

# named_only ID: what can't be read of it, check has named
named_only()
{
	local first_chunk count word block named

	jq -r --argjson id "$1" '.findings[] | select(.chunks and (.copies | index($id))) |
		"\(.first_chunk) \(.chunks)"' found >ranges
	while read -r word block; do
		named=
		while read -r first_chunk count; do
			[ "$block" -lt "$first_chunk" ] || [ "$block" -ge $((first_chunk + count)) ] ||
				named=y
		done <ranges
		[ -n "$named" ] || fail "$what: copy $1: block $block is $word, which check didn't say"
	done <unread
}

# repaired WHAT KEPT: and activated; KEPT copies at least are not lost
repaired()
{
	local id flags what=$1 good=0 bad=0

	! shadowctl -o json check "$area" >found 2>/dev/null || fail "$what: not found"
	shadowctl check --repair --force "$area" >said 2>&1 ||
		{ cat said; fail "$what: not repaired"; }
	grep -q '^repair: ' said || { cat said; fail "$what: nothing is said"; }
	sound "$what" "$area"
	activate
	message list >copies
	while read -r id _ _ _ _ _ flags _; do
		[[ $flags != *i* ]] || continue
		good=$((good + 1))
		copy_reads "$id"
		[ ! -s unread ] || named_only "$id"
		bad=$((bad + $(wc -l <unread)))
	done <copies
	[ $good -ge "$2" ] || { cat said copies; fail "$what: $good copies are left, not $2"; }
	# It works on: volume and a new copy are right, and the area sound in the end.
	take
	stomp fill /dev/mapper/o --seq 5
	show "$ID"
	cmp "/dev/mapper/c$ID" origin.image || fail "$what: a new copy is wrong"
	hide "$ID"
	stomp verify /dev/mapper/o --seq 5
	message checkpoint
	deactivate
	sound "$what, used" "$area"
	echo "$what: $good copies, $bad blocks unreadable, $(grep -c '^repair' said) repairs"
}

put area.image "$area"
blocks list "$area" >blocks.list
for kind in super shadow bitmap node leaf exempt-leaf journal; do
	mapfile -t at < <(awk -v t=$kind '$1 == t { print $2 }' blocks.list)
	[ ${#at[@]} -gt 0 ] || fail "no $kind in the area"
	case $kind in
	super|bitmap|node|leaf) kept=3 ;;
	shadow|exempt-leaf) kept=2 ;;
	journal) kept=0 ;;
	esac
	back
	blocks damage "$area" "${at[0]}"
	repaired "$kind ${at[0]}" "$kept"
done

# Refused, and nothing changed
put area.image "$area"
blocks damage "$area" 0
blocks damage "$area" 8
dd if="$area" of=before bs=1M iflag=direct status=none
rc=0
shadowctl check --repair --force "$area" >/dev/null 2>err || rc=$?
expect 6 $rc "status of a repair without a superblock"
grep -q "can't be repaired" err || fail "no reason: $(cat err)"
same before "$area" || fail "it was written"
