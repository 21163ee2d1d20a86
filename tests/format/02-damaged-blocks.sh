#!/bin/bash
# Proves that a damaged metadata block of any kind never leads to wrong data, a
# crash, or harm to the origin: activation refuses with a reason, or goes on
# with what can be read, and a copy is right or gives an error.  A single
# superblock may be damaged without loss.
# timeout: 300
# dmesg: EILSEQ|checksum
. "$(dirname "$0")/../shadow.sh"
devices 4 32 --chunk-size 4K
stomp fill "$origin" --seq 1
activate
take
first=$ID
message exempt "$first" begin
message exempt "$first" run 1000 8
message exempt "$first" end
# Enough separate runs for an index with nodes
stomp scatter /dev/mapper/o --seq 2 --stride 8K --shuffle
take
second=$ID
stomp scatter /dev/mapper/o --seq 3 --stride 12K --shuffle
message checkpoint
take
third=$ID
# Some records in the journal, left there by a crash: the image is taken now
stomp scatter /dev/mapper/o --seq 4 --stride 64K
sync /dev/mapper/o
cp "$area" area.image
cp "$origin" origin.image
deactivate

restore()
{
	dd if=area.image of="$area" bs=1M oflag=direct status=none
	dd if=origin.image of="$origin" bs=1M oflag=direct status=none
}

# copy_is_right ID COMMAND...: it is, or gives an error
copy_is_right()
{
	local said

	dmsetup create "c$1" --table "0 $(sectors /dev/mapper/o) shadow $origin $area $1" \
		2>/dev/null || return 0
	cleanup dm_gone "c$1"
	said=$("${@:2}" 2>&1) || [[ $said != *MISMATCH* ]] || fail "copy $1: wrong data: $said"
	hide "$1"
}

# judge WHAT: nothing lies
judge()
{
	local id

	if ! dmsetup create o --table "0 $(sectors "$origin") shadow-origin $origin $area" \
		2>err; then
		echo "$1: refused: $(dmesg | grep -i shadow | tail -n 1 | cut -c 1-150)"
		return
	fi
	cleanup dm_gone o
	echo "$1: mode $(status 1), copies $(ids), errors $(status 20)"
	for id in $(ids); do
		[[ $(listed "$id" 7) != *[is]* ]] || continue
		case $id in
		"$second") copy_is_right "$id" stomp check "/dev/mapper/c$id" --seq 2 --stride 8K --else 1 ;;
		"$first") copy_is_right "$id" stomp verify "/dev/mapper/c$id" --seq 1 --count 8000 ;;
		esac
	done
	stomp scatter /dev/mapper/o --seq 5 --stride 16K
	stomp check /dev/mapper/o --seq 5 --stride 16K --else 9 --count 1 >/dev/null || true
	for id in $(ids); do
		[[ $(listed "$id" 7) != *[is]* ]] || continue
		case $id in
		"$second") copy_is_right "$id" stomp check "/dev/mapper/c$id" --seq 2 --stride 8K --else 1 ;;
		"$first") copy_is_right "$id" stomp verify "/dev/mapper/c$id" --seq 1 --count 8000 ;;
		esac
	done
	deactivate
}

restore
activate
expect recovered "$(status 26)" "how the image is found"
expect "$first $second $third" "$(ids)" "copies in the image"
deactivate
restore
blocks list "$area" >found
cut -d ' ' -f 1 found | sort | uniq -c
for kind in super root shadow bitmap node leaf exempt-leaf journal; do
	mapfile -t at < <(awk -v t=$kind '$1 == t { print $2 }' found)
	[ ${#at[@]} -gt 0 ] || { echo "no $kind"; continue; }
	# The first, the last, and what each sort of damage does
	for block in "${at[0]}" "${at[-1]}"; do
		restore
		blocks damage "$area" "$block"
		judge "$kind $block damaged"
	done
	restore
	blocks zero "$area" "${at[0]}"
	judge "$kind zeroed"
	restore
	blocks copy "$area" "${at[0]}" "${at[-1]}"
	judge "$kind overwritten by another"
	# Numbers that make no sense, under a right checksum
	for value in 0 4294967295; do
		restore
		blocks set "$area" "${at[0]}" 52 4 $value
		judge "$kind with count $value"
		restore
		blocks set "$area" "${at[0]}" 80 8 18446744073709551615
		judge "$kind with a wild field"
	done
done
# One superblock damaged: the other leads to a state not older than the last
# checkpoint but one, whose journal is still there.
restore
activate
deactivate
blocks damage "$area" "$(blocks list "$area" | awk '$1 == "super" { print $2 }')"
activate
[[ " $(ids) " == *" $first $second "* ]] || fail "copies by the older superblock: $(ids)"
deactivate
