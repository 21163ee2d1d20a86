#!/bin/bash
# Proves that a copy whose description would not fit a diff area full of data is
# refused or makes room, as the policy says: nothing that is there is lost for it
# unless copies may be dropped, and then the oldest is.
# slowest
. "$(dirname "$0")/../shadow.sh"
devices 32 16 --chunk-size 4K
stomp fill "$origin" --seq 1
activate
take
first=$ID
message when_full invalidate
# As much as it takes
sectors=0
total=$(status 4)
while [ $(($(used) + 256)) -lt $((${total#*/} * 63 / 64)) ]; do
	stomp fill /dev/mapper/o --seq 2 --start $sectors --count 1024
	sectors=$((sectors + 1024))
done
step=64
while [ $step -gt 0 ]; do
	[ $(($(used) + step / 8 + 8)) -lt $((${total#*/} * 63 / 64)) ] ||
		{ step=$((step / 2)); continue; }
	stomp fill /dev/mapper/o --seq 2 --start $sectors --count $step
	sectors=$((sectors + step))
done
message checkpoint
echo "$(used) of ${total#*/} used"

copies=1
while [ $copies -lt 400 ]; do
	dmsetup suspend o
	message create "$(new_uuid)" >/dev/null 2>&1 || break
	dmsetup resume o
	copies=$((copies + 1))
done
dmsetup resume o
[ $copies -lt 400 ] || fail "400 copies fit"
echo "$copies copies fit"
expect "$copies 0" "$(status 6 19)" "copies, dropped copies"
holds "$first" 1
deactivate
activate
expect "$copies" "$(status 6)" "copies"
holds "$first" 1

message when_full drop-oldest
take
expect 1 "$(status 19)" "copies dropped"
[[ " $(ids) " != *" $first "* ]] || fail "the oldest was not dropped"
stomp verify /dev/mapper/o --seq 2 --count $sectors
stomp verify /dev/mapper/o --seq 1 --start $sectors
deactivate
sound "afterwards" "$area"
