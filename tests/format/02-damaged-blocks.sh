#!/bin/bash
# Proves that a damaged metadata block of any kind never leads to wrong data, a
# crash, or harm to the origin: activation refuses with a reason, or goes on
# with what can be read, and a copy is right or gives an error.  A single
# superblock may be damaged without loss.
# timeout: 600
# dmesg: EILSEQ|checksum
# slow
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

# right COMMAND...: what it reads is right, or gives an error
right()
{
	local said

	said=$("$@" 2>&1) || [[ $said != *MISMATCH* ]] || fail "$what: wrong data: $said"
}

# judge WHAT: nothing lies
judge()
{
	local id flags what=$1

	if ! nodes make o "$origin" shadow-origin "$origin" "$area" 2>/dev/null; then
		echo "$what: refused"
		return
	fi
	message list >copies
	while read -r id _ _ _ _ _ flags _; do
		[[ $flags != *[is]* ]] || continue
		case $id in
		"$first") right nodes holds o "$origin" "$area" "$id" 1 1 8000 ;;
		"$second")
			nodes make c "$origin" shadow "$origin" "$area" "$id" 2>/dev/null || continue
			right stomp check /dev/mapper/c --seq 2 --stride 8K --else 1
			nodes drop c
			;;
		esac
	done <copies
	stomp scatter /dev/mapper/o --seq 5 --stride 16K
	[[ $(<copies) != "$first "* ]] || right nodes holds o "$origin" "$area" "$first" 1 1 8000
	nodes drop o
	echo "$what: taken, $(wc -l <copies) copies"
}
cleanup nodes drop c nodes-holds o

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
	for block in "${at[0]}" "${at[-1]}"; do
		restore
		blocks damage "$area" "$block"
		judge "$kind $block damaged"
	done
	restore
	blocks zero "$area" "${at[0]}"
	judge "$kind zeroed"
	# Numbers that make no sense, under a right checksum
	restore
	blocks set "$area" "${at[0]}" 52 4 4294967295
	judge "$kind with a count of 4294967295"
	restore
	blocks set "$area" "${at[0]}" 80 8 18446744073709551615
	judge "$kind with a wild field"
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
