#!/bin/bash
# Proves I8: space that was freed is written again only once nothing on stable
# media names it.  A diff area hardly larger than needed, copies created and
# deleted all the time; cuts anywhere, and after each life goes on.
# timeout: 600
# slowest
. "$(dirname "$0")/rig.sh"
record flush 1024 6144 "--chunk-size 4K --journal-size 128K" --ops 500 --copies 4 --pace 3 \
	--max-write 128K --writers 2 --limit 1400 --without merge
cut_power lose --go-on 100 --count "$(count 60 1000)"
cut_power boundary --go-on 100 --count "$(count 60 0)"
