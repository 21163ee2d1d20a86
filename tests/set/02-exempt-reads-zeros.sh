#!/bin/bash
# Proves that exempt runs of a copy read zeros, before and after they are
# overwritten, need no saving, survive reactivation and a checkpoint, and that
# a load that is aborted, or for which there is no room, leaves nothing behind.
. "$(dirname "$0")/../shadow.sh"
devices 8 16
stomp fill "$origin" --seq 1
activate
take
# Chunks 10 to 19 and 100 to 102 of 16 KiB; sectors 320 to 639, 3200 to 3295
message exempt "$ID" begin
message exempt "$ID" run 10 10 100 3
message exempt "$ID" end
expect 13 "$(listed "$ID" 9)" "exempt chunks"
expect e "$(listed "$ID" 7)" flags
bad_message 'exists' exempt "$ID" begin
check()
{
	show "$ID"
	c=/dev/mapper/c$ID
	stomp verify "$c" --seq 1 --count 320
	stomp verify "$c" --seq 0 --start 320 --count 320
	stomp verify "$c" --seq 1 --start 640 --count 2560
	stomp verify "$c" --seq 0 --start 3200 --count 96
	stomp verify "$c" --seq 1 --start 3296
	hide "$ID"
}
check
stomp fill /dev/mapper/o --seq 2 --start 320 --count 320
expect 0 "$(status 17)" "chunks saved"
check
stomp fill /dev/mapper/o --seq 2
expect $((512 - 13)) "$(status 17)" "chunks saved"
check
deactivate
activate
check
first=$ID
take
message exempt "$ID" begin
message exempt "$ID" run 0 500
message exempt "$ID" abort
holds "$ID" 2
expect - "$(listed "$ID" 7)" "flags after abort"
# No room for them
message limit "$(used)"
message exempt "$ID" begin
message exempt "$ID" run 0 500
bad_message 'full' exempt "$ID" end
bad_message 'begin' exempt "$ID" end
holds "$ID" 2
message limit 0
message exempt "$ID" begin
message exempt "$ID" run 0 500
deactivate
activate
holds "$ID" 2
ID=$first
check
