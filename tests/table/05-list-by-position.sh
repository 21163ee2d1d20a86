#!/bin/bash
# Proves that a line of the list has each field where the documentation says,
# right after creation and after a reactivation.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 2 16
size=$(sectors "$origin")
activate
u=$(new_uuid) s=$(new_uuid)
dmsetup suspend o
id=$(message create "$u" set "$s" members 3 state preparing attr 0123456789abcdef)
dmsetup resume o
take
plain=$ID

check()
{
	local f

	# From 1, as the documentation has it
	read -r -a f <<<"0 $(message list "$id")"
	expect 12 $((${#f[@]} - 1)) fields
	expect "$id" "${f[1]}" id
	expect "$u" "${f[2]}" uuid
	expect "$s" "${f[3]}" "set uuid"
	expect 3 "${f[4]}" members
	[[ ${f[5]} =~ ^[0-9]{10}\.[0-9]{9}$ ]] || fail "time: ${f[5]}"
	[ $((EPOCHSECONDS - ${f[5]%.*})) -lt 300 ] || fail "an old time: ${f[5]}"
	expect "$size" "${f[6]}" sectors
	expect "$1" "${f[7]}" flags
	expect "$2" "${f[8]}" "locked until"
	expect "$3" "${f[9]}" "exempt chunks"
	expect 0 "${f[10]}" opens
	expect "$4" "${f[11]}" attr
	expect 0 "${f[12]}" "damaged chunks"
	read -r -a f <<<"0 $(message list "$plain")"
	expect 1 "${f[4]}" "members of a set of its own"
	expect - "${f[11]}" "no attr"
}
again()
{
	check "$@"
	message checkpoint
	check "$@"
	deactivate
	activate
	check "$@"
}

expect "$id $plain" "$(ids)" order
again p 0 0 0123456789abcdef
message commit "$id"
again - 0 0 0123456789abcdef
long=$(printf '%04096d' 7)
message attr "$id" "$long"
message lock "$id" 4000000000
message exempt "$id" begin
message exempt "$id" run 3 4 100 2
message exempt "$id" end
again e 4000000000 6 "$long"
show "$id"
expect 1 "$(listed "$id" 10)" opens
hide "$id"
expect 0 "$(listed "$id" 10)" opens
message attr "$id" -
again e 4000000000 6 -
