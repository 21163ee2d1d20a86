#!/bin/bash
# Proves that a chunk which is exempt in the newest copy is saved when an older
# one needs it: once, and not once more for the newest; and that nothing is
# saved any more once the older one is deleted.
. "$(dirname "$0")/../shadow.sh"
devices 8 32
stomp fill "$origin" --seq 1
activate
take
old=$ID
take
new=$ID
message exempt "$new" begin
message exempt "$new" run 0 256
message exempt "$new" end
stomp fill /dev/mapper/o --seq 2 --count 4096
expect 128 "$(status 17)" "chunks saved, for the old copy"
holds "$old" 1
show "$new"
stomp verify "/dev/mapper/c$new" --seq 0 --count 8192
stomp verify "/dev/mapper/c$new" --seq 1 --start 8192
hide "$new"
stomp fill /dev/mapper/o --seq 3 --count 4096
expect 128 "$(status 17)" "chunks saved, none twice"
# Others of the exempt ones, after the old copy has gone
message delete "$old"
stomp fill /dev/mapper/o --seq 3 --start 4096 --count 4096
expect 128 "$(status 17)" "chunks saved, none for nobody"
stomp fill /dev/mapper/o --seq 3
expect $((128 + 256)) "$(status 17)" "chunks saved, for the new copy"
deactivate
activate
show "$new"
stomp verify "/dev/mapper/c$new" --seq 0 --count 8192
stomp verify "/dev/mapper/c$new" --seq 1 --start 8192
hide "$new"

# Between two that need it, a copy that doesn't
stomp fill /dev/mapper/o --seq 4
take
a=$ID
take
b=$ID
message exempt "$b" begin
message exempt "$b" run 0 512
message exempt "$b" end
take
c=$ID
stomp fill /dev/mapper/o --seq 5
holds "$a" 4
holds "$b" 0
holds "$c" 4
message delete "$c"
holds "$a" 4
holds "$b" 0
message delete "$a"
holds "$b" 0
