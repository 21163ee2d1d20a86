#!/bin/bash
# Proves that every message that makes no sense is refused, with the reason in
# the kernel log, and changes nothing.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 16
activate
take
a=$ID
take
b=$ID
u=$(new_uuid)

bad_message 'unknown message' nonsense
bad_message 'suspended' create "$u"
dmsetup suspend o
bad_message 'number of arguments' create
bad_message 'argument' create not-a-uuid
bad_message 'argument' create "${u%?}"
bad_message 'argument' create "$u" set
bad_message 'argument' create "$u" set 12
bad_message 'argument' create "$u" colour red
bad_message 'argument' create "$u" set "$u" members x
bad_message 'argument' create "$u" set "$u" members 0
bad_message 'argument' create "$u" set "$u" members -1
bad_message 'argument' create "$u" state ready
bad_message 'argument' create "$u" attr xyz
bad_message 'argument' create "$u" attr abc
bad_message 'argument' create "$u" attr "$(printf '%04098d' 0)"
bad_message 'exists' create "$(listed "$a" 2)"
bad_message 'no such' merge 99
bad_message 'argument' merge x
bad_message 'number of arguments' merge
preparing=$(message create "$u" state preparing)
bad_message 'argument' merge "$preparing"
message delete "$preparing"
dmsetup resume o
bad_message 'suspended' merge "$a"

bad_message 'number of arguments' delete
bad_message 'no such' delete 99
bad_message 'argument' delete x
bad_message 'argument' delete -1
bad_message 'argument' delete 4294967297
bad_message 'argument' delete "0x$a"
# All of them or none
bad_message 'no such' delete "$a" 99
bad_message 'number of arguments' commit
bad_message 'argument' commit x
bad_message 'no such' commit 99
bad_message 'already|prepar' commit "$a"
bad_message 'number of arguments' attr "$a"
bad_message 'argument' attr "$a" 0g
bad_message 'argument' attr "$a" 012
bad_message 'no such' attr 99 00
bad_message 'argument' attr "$a" "$(printf '%04098d' 0)"
bad_message 'number of arguments' lock "$a"
bad_message 'argument' lock "$a" soon
bad_message 'no such' lock 99 0
bad_message 'begin|load|exempt run' exempt "$a" run 0 1
bad_message 'begin|load|exempt run' exempt "$a" end
bad_message 'argument' exempt "$a" nonsense
bad_message 'no such' exempt 99 begin
message exempt "$b" begin
bad_message 'argument' exempt "$b" run
bad_message 'argument' exempt "$b" run 1
bad_message 'argument' exempt "$b" run x 1
bad_message 'range' exempt "$b" run 1 0
bad_message 'range' exempt "$b" run 511 2
bad_message 'range' exempt "$b" run 18446744073709551615 2
bad_message 'order' exempt "$b" run 10 5 12 1
bad_message 'order' exempt "$b" run 14 1	# the first pair was taken
message exempt "$b" run 15 1
bad_message 'under way' exempt "$a" begin
bad_message 'begin' exempt "$a" run 20 1
bad_message 'begin' exempt "$a" end
bad_message 'begin' exempt "$a" abort
message exempt "$b" run 20 1	# that of the other goes on
message exempt "$b" abort
expect - "$(listed "$b" 7)" "flags after an aborted load"

bad_message 'number of arguments' scrub
bad_message 'number of arguments' scrub start 1 2
bad_message 'argument' scrub now
bad_message 'argument' scrub stop 1
bad_message 'argument' scrub start fast
bad_message 'argument' scrub start -1
bad_message 'argument' scrub start 4294967296
expect - "$(status 27)" scrub
bad_message 'number of arguments' limit
bad_message 'argument' limit much
bad_message 'argument' limit -5
bad_message 'argument' limit 0x10
bad_message 'range' limit 1025
bad_message 'argument' when_full panic
bad_message 'argument' when_full block
bad_message 'argument' when_full invalidate 5
bad_message 'range|argument' when_full block -3
bad_message 'range|argument' when_full block soon
bad_message 'range' when_full block 0
bad_message 'range' when_full block 86401
bad_message 'range' low_space 101
bad_message 'range|argument' low_space x
bad_message 'argument' fingerprint x
bad_message 'range' fingerprint 999999999
# shellcheck disable=SC2046
bad_message 'arguments' fingerprint $(seq 1 65)
bad_message 'arguments' checkpoint now
bad_message 'arguments' resize 5
bad_message 'arguments' trust me
bad_message 'no such' list 99
bad_message 'argument' list x
expect "$a $b" "$(ids)" copies
