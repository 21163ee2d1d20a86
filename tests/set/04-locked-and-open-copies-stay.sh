#!/bin/bash
# Proves that a copy is not deleted while it is open or locked, that its lock
# ends by itself, and that of a list of copies all are deleted or none.
. "$(dirname "$0")/../shadow.sh"
devices 8 16
activate
take
a=$ID
take
b=$ID
show "$a"
bad_message 'open|use|busy' delete "$a"
bad_message 'open|use|busy' delete "$b" "$a"
hide "$a"
message lock "$a" $(($(date +%s) + 1000))
bad_message 'lock' delete "$a"
bad_message 'lock' delete "$b" "$a"
deactivate
activate
bad_message 'lock' delete "$a"
message lock "$a" 0
expect 0 "$(listed "$a" 8)" "locked until"
message lock "$a" $(($(date +%s) + 1))
sleep 2
message delete "$a" "$b" "$a"	# one named twice
expect "" "$(ids)" copies
expect "$b" "$(status 9)" "last id given out"
take
expect $((b + 1)) "$ID" "ids are never used again"
