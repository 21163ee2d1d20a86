#!/bin/bash
# Proves that every message that makes no sense is refused, with the reason in
# the kernel log, and changes nothing.
. "$(dirname "$0")/../shadow.sh"
devices 8 16
activate
take
a=$ID
take
b=$ID
u=$(new_uuid)

bad_message 'message|unknown' nonsense
bad_message 'suspend' create "$u"
dmsetup suspend o
bad_message 'uuid|argument' create
bad_message 'uuid' create not-a-uuid
bad_message 'uuid' create "${u}0"
bad_message 'uuid' create "${u%?}"
bad_message 'uuid.*(use|exist|already)|exist|already' create "$(listed "$a" 2)"
bad_message 'argument|value|key' create "$u" set
bad_message 'uuid|set' create "$u" set 12
bad_message 'key|unknown|argument|option' create "$u" colour red
bad_message 'members|number' create "$u" set "$u" members x
bad_message 'members|number' create "$u" set "$u" members 0
bad_message 'members|number' create "$u" set "$u" members -1
bad_message 'state' create "$u" state ready
bad_message 'attr|hex' create "$u" attr xyz
bad_message 'attr|hex' create "$u" attr abc
bad_message 'attr|long|large|hex' create "$u" attr "$(printf '%04098d' 0)"
bad_message 'no.*copy|unknown|no such|id' merge 99
bad_message 'argument|id' merge
dmsetup resume o
bad_message 'suspend' merge "$a"

bad_message 'argument|id' delete
bad_message 'no.*copy|unknown|no such|id' delete 99
bad_message 'number|id' delete x
bad_message 'number|id' delete -1
bad_message 'number|id|no.*copy' delete 4294967297
# All of them or none
bad_message 'no.*copy|unknown|no such|id' delete "$a" 99
bad_message 'twice|number|id|copy' delete "$a" "$a"
bad_message 'no.*copy|unknown|no such|id' commit 99
bad_message 'prepar|commit|state' commit "$a"
bad_message 'argument' attr "$a"
bad_message 'hex|attr' attr "$a" 0g
bad_message 'hex|attr' attr "$a" 012
bad_message 'no.*copy|unknown|no such|id' attr 99 00
bad_message 'long|large|attr|hex' attr "$a" "$(printf '%04098d' 0)"
bad_message 'argument' lock "$a"
bad_message 'time|number' lock "$a" soon
bad_message 'no.*copy|unknown|no such|id' lock 99 0
bad_message 'exempt|begin|argument' exempt "$a" run 0 1
bad_message 'exempt|begin|argument' exempt "$a" end
bad_message 'exempt|argument' exempt "$a" nonsense
bad_message 'no.*copy|unknown|no such|id' exempt 99 begin
message exempt "$b" begin
bad_message 'run|argument|number' exempt "$b" run
bad_message 'run|argument|number|pair' exempt "$b" run 1
bad_message 'run|number' exempt "$b" run x 1
bad_message 'run|number|empty|zero|length' exempt "$b" run 1 0
bad_message 'run|end|beyond|outside' exempt "$b" run 511 2
bad_message 'run|end|beyond|outside|number' exempt "$b" run 18446744073709551615 2
bad_message 'ascend|order|overlap' exempt "$b" run 10 5 12 1
bad_message 'loading|busy|progress|exempt' exempt "$a" begin
message exempt "$b" abort
expect - "$(listed "$b" 7)" "flags after an aborted load"

bad_message 'number|limit|argument' limit
bad_message 'number|limit' limit much
bad_message 'number|limit' limit -5
bad_message 'when_full|policy|argument' when_full
bad_message 'when_full|policy|unknown' when_full panic
bad_message 'second|time|argument|number' when_full block
bad_message 'second|time|number' when_full block -3
bad_message 'percent|number' low_space 101
bad_message 'percent|number' low_space x
bad_message 'block|number|argument' fingerprint x
bad_message 'block|end|beyond|range' fingerprint 999999999
# shellcheck disable=SC2046
bad_message 'many|64|argument' fingerprint $(seq 1 65)
bad_message 'argument|many' checkpoint now
bad_message 'argument|many' resize 5
bad_message 'argument|many' trust me
bad_message 'no.*copy|unknown|no such|id' list 99
bad_message 'number|id' list x
expect "drop-oldest" "$(status 10)" policy
expect "$a $b" "$(ids)" copies
