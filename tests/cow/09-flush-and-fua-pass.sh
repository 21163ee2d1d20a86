#!/bin/bash
# Proves that flush and FUA reach the origin, with and without chunks to save,
# and with both at once, as ext4's journal sends them: what was acknowledged is
# on the medium once the write cache is thrown away.
# slow
. "$(dirname "$0")/../shadow.sh"
need_target recorder
disk 16
data=$DEV
disk 128
log=$DEV
dm_create logged "0 $(sectors "$data") recorder $data $log"
origin=$DEV
disk 32
area=$DEV
format_area "$area" "$origin"
stomp fill "$origin" --seq 1
activate
take
stomp write /dev/mapper/o 0 8 --seq 2 --dsync		# to be saved
dmsetup message logged 0 mark one
stomp write /dev/mapper/o 0 8 --seq 3 --dsync		# saved
dmsetup message logged 0 mark two
stomp write /dev/mapper/o 64 8 --seq 4
stomp write /dev/mapper/o 128 8 --seq 4
sync /dev/mapper/o
dmsetup message logged 0 mark three
mkfs.ext4 -q -F /dev/mapper/o 12M
mkdir mnt
mount /dev/mapper/o mnt
cleanup eval "! mountpoint -q mnt || umount mnt"
for i in 1 2 3; do
	echo "$i" >mnt/file$i
	sync mnt/file$i
	[ $i -ne 3 ] || dmsetup message logged 0 mark four
	take
done
umount mnt
holds_here()
{
	stomp read "$replayed" "$1" 8 --seq "$2" || fail "mark $3: lost what was acknowledged"
}
deactivate
dm_remove logged
disk 16
replayed=$DEV
logreplay replay "$log" "$replayed" --to one --lose all
holds_here 0 2 one
logreplay replay "$log" "$replayed" --to two --lose all
holds_here 0 3 two
logreplay replay "$log" "$replayed" --to three --lose all
holds_here 64 4 three
holds_here 128 4 three
logreplay replay "$log" "$replayed" --to four --lose all
mount "$replayed" mnt
for i in 1 2 3; do
	expect "$i" "$(cat mnt/file$i)" "file$i, synced before mark four"
done
umount mnt
logreplay list "$log" | sed '1,/mark three/d; /mark four/,$d' >events
grep -q ' fua-write' events || fail "no FUA write of the journal got down"
grep -q 'end flush' events || fail "no flush of the journal got down"
