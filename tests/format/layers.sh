# shellcheck shell=bash
# shellcheck disable=SC2154 # origin and area are set there
# What the tests of damaged areas share; sourced behind shadow.sh.

# put FILE DEVICE
put()
{
	dd if="$1" of="$2" bs=1M oflag=direct status=none
}

# same FILE DEVICE: past the page cache
same()
{
	dd if="$2" bs=1M iflag=direct status=none | cmp - "$1"
}

# layered: small devices, "o" active, and an area as a crash leaves it, in which each kind
# of block is: an index with nodes, exempt runs (the last chunks of the first copy), a
# journal.  Sets first, second, third; keeps origin.image and area.image.
layered()
{
	devices 2 6 --chunk-size 4K
	stomp fill "$origin" --seq 1
	activate
	take
	first=$ID
	message exempt "$first" begin
	message exempt "$first" run 504 8
	message exempt "$first" end
	# Enough separate runs for two leaves
	stomp scatter /dev/mapper/o --seq 2 --stride 8K --shuffle
	take
	second=$ID
	stomp scatter /dev/mapper/o --seq 3 --stride 12K --shuffle
	message checkpoint
	take
	# shellcheck disable=SC2034 # for the caller
	third=$ID
	stomp scatter /dev/mapper/o --seq 4 --stride 64K
	keep
}

# keep: both devices as they are now, "o" active
keep()
{
	sync /dev/mapper/o
	cp "$area" area.image
	cp "$origin" origin.image
}

# back: to what was kept
back()
{
	put area.image "$area"
	put origin.image "$origin"
}

# copy_reads ID: what can be read of the first or second copy is right; what can't is in
# unread, "unreadable BLOCK" a line.  False if it can't be opened.
copy_reads()
{
	: >unread
	nodes make c "$origin" shadow "$origin" "$area" "$1" 2>/dev/null || return
	if [ "$1" = "$first" ]; then
		stomp verify /dev/mapper/c --seq 1 --count 4032 --tolerant >unread
	elif [ "$1" = "$second" ]; then
		stomp check /dev/mapper/c --seq 2 --stride 8K --else 1 --tolerant >unread
	fi || fail "${what-}: copy $1: $(grep -v ^unreadable unread)"
	nodes drop c || fail "the node of copy $1 stays"
}
cleanup nodes drop c
