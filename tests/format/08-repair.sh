#!/bin/bash
# Proves that the kernel activates what check --repair made of a damaged diff
# area: damage of each kind is repaired, the area is sound then; copies that are
# still good read right, or give an error where check said so; volume and new
# copies work on it; and an area in use is refused.
# timeout: 600
# dmesg: EILSEQ|checksum|damaged
# slow
. "$(dirname "$0")/../shadow.sh"
requires shadowctl
devices 4 32 --chunk-size 4K
stomp fill "$origin" --seq 1
activate
take
first=$ID
message exempt "$first" begin
message exempt "$first" run 1000 8
message exempt "$first" end
stomp scatter /dev/mapper/o --seq 2 --stride 8K --shuffle
take
second=$ID
stomp scatter /dev/mapper/o --seq 3 --stride 12K --shuffle
message checkpoint
take
third=$ID
stomp scatter /dev/mapper/o --seq 4 --stride 64K
sync /dev/mapper/o
cp "$area" area.image
cp "$origin" origin.image
! shadowctl check --repair --force "$area" 2>err || fail "repair of an area in use"
grep -q 'in use' err || fail "not in use: $(cat err)"
deactivate

restore()
{
	dd if=area.image of="$area" bs=1M oflag=direct status=none
	dd if=origin.image of="$origin" bs=1M oflag=direct status=none
}

# right COMMAND...: what it reads is right, or gives an error
right()
{
	local said

	said=$("$@" 2>&1) || [[ $said != *MISMATCH* ]] || fail "$what: wrong data: $said"
}

# repaired WHAT KEPT: and activated; KEPT copies at least are not lost
repaired()
{
	local id flags what=$1 good=0

	! shadowctl check "$area" >found 2>/dev/null || fail "$what: not found"
	shadowctl check --repair --force "$area" >said 2>&1 ||
		{ cat said; fail "$what: not repaired"; }
	grep -q '^repair: ' said || { cat said; fail "$what: nothing is said"; }
	sound "$what" "$area"
	activate
	message list >copies
	while read -r id _ _ _ _ _ flags _; do
		[[ $flags != *i* ]] || continue
		good=$((good + 1))
		case $id in
		"$first") right nodes holds o "$origin" "$area" "$id" 1 1 8000 ;;
		"$second")
			show "$id"
			right stomp check "/dev/mapper/c$id" --seq 2 --stride 8K --else 1
			hide "$id"
			;;
		esac
	done <copies
	[ $good -ge "$2" ] || { cat said copies; fail "$what: $good copies are left, not $2"; }
	# It works on: a new copy is right, and the area sound in the end.
	take
	stomp fill /dev/mapper/o --seq 5
	message checkpoint
	deactivate
	sound "$what, used" "$area"
	echo "$what: $good copies, $(grep -c '^repair' said) repairs"
}

restore
blocks list "$area" >blocks.list
for kind in super shadow bitmap node leaf exempt-leaf journal; do
	mapfile -t at < <(awk -v t=$kind '$1 == t { print $2 }' blocks.list)
	[ ${#at[@]} -gt 0 ] || { echo "no $kind"; continue; }
	case $kind in
	super|bitmap|node|leaf) kept=3 ;;
	shadow|exempt-leaf) kept=2 ;;
	journal) kept=0 ;;
	esac
	restore
	blocks damage "$area" "${at[0]}"
	repaired "$kind ${at[0]}" "$kept"
done

# What was good before is good afterwards, all of it: nothing was lost here.
restore
blocks damage "$area" "$(awk '$1 == "bitmap" { print $2; exit }' blocks.list)"
shadowctl check --repair --force "$area" >/dev/null
activate
show "$second"
stomp check "/dev/mapper/c$second" --seq 2 --stride 8K --else 1
hide "$second"
nodes holds o "$origin" "$area" "$first" 1 1 8000
[ "$(ids)" = "$first $second $third" ] || fail "copies: $(ids)"
deactivate

# Refused, and nothing changed
restore
blocks damage "$area" 0
blocks damage "$area" 8
cp "$area" before
rc=0
shadowctl check --repair --force "$area" >/dev/null 2>err || rc=$?
expect 6 $rc "status of a repair without a superblock"
grep -q "can't be repaired" err || fail "no reason: $(cat err)"
cmp "$area" before || fail "it was written"
