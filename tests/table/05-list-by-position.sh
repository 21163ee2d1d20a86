#!/bin/bash
# Proves that a line of the list has each field where the documentation says,
# right after creation and after a reactivation.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 16
activate
u=$(new_uuid) s=$(new_uuid)
dmsetup suspend o
id=$(message create "$u" set "$s" members 3 state preparing attr 0123456789abcdef)
dmsetup resume o
take
plain=$ID

check()
{
	expect 12 "$(message list "$id" | wc -w)" fields
	expect "$u" "$(listed "$id" 2)" uuid
	expect "$s" "$(listed "$id" 3)" "set uuid"
	expect 3 "$(listed "$id" 4)" members
	[[ $(listed "$id" 5) =~ ^[0-9]{10}\.[0-9]{9}$ ]] || fail "time: $(listed "$id" 5)"
	[ $(($(date +%s) - $(listed "$id" 5 | cut -d . -f 1))) -lt 300 ] || fail "an old time"
	expect "$(sectors "$origin")" "$(listed "$id" 6)" sectors
	expect "$1" "$(listed "$id" 7)" flags
	expect "$2" "$(listed "$id" 8)" "locked until"
	expect "$3" "$(listed "$id" 9)" "exempt chunks"
	expect "$4" "$(listed "$id" 11)" attr
	expect 0 "$(listed "$id" 12)" "damaged chunks"
	expect 1 "$(listed "$plain" 4)" "members of a set of its own"
	expect - "$(listed "$plain" 11)" "no attr"
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
expect 0 "$(listed "$id" 10)" opens
show "$id"
expect 1 "$(listed "$id" 10)" opens
hide "$id"
expect 0 "$(listed "$id" 10)" opens
