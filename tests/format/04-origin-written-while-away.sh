#!/bin/bash
# Proves that a clean deactivation is told from a crash, and that an origin that
# was written in between is noticed: all copies are suspect, in list and status,
# also after another reactivation, until the administrator says otherwise.
. "$(dirname "$0")/../shadow.sh"
devices 8 16
stomp fill "$origin" --seq 1
activate
take
message fingerprint 77 1000
deactivate
activate
expect clean "$(status 26)" "untouched"
expect - "$(listed "$ID" 7)" flags
deactivate
for sector in 0 $((77 * 8 + 3)) 8000; do
	stomp write "$origin" $sector 1 --seq 9
	activate
	expect changed "$(status 26)" "sector $sector written while away"
	expect s "$(listed "$ID" 7)" flags
	show "$ID"
	expect suspect "$(dm_status "c$ID" 1)" state
	hide "$ID"
	deactivate
	activate
	expect s "$(listed "$ID" 7)" "flags after another reactivation"
	message trust
	expect - "$(listed "$ID" 7)" "flags, trusted"
	deactivate
	activate
	expect clean "$(status 26)" "trusted"
	expect - "$(listed "$ID" 7)" "flags, trusted"
	deactivate
done
# A crash: nothing is known, nothing is claimed
activate
take
cp "$area" crashed
deactivate
dd if=crashed of="$area" bs=1M oflag=direct status=none
activate
expect recovered "$(status 26)" "after a crash"
expect - "$(listed "$ID" 7)" "flags after a crash"
