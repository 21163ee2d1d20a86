#!/bin/bash
# Proves that a chunk of zeros is saved as that: no space, no data written, and
# the copy reads zeros there; a chunk with one bit set is stored.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 16
activate
stomp write /dev/mapper/o 0 8 --seq 1
printf '\001' >one-bit
dd if=one-bit of=/dev/mapper/o bs=1 seek=$((16384 * 7 - 1)) conv=notrunc status=none
sync /dev/mapper/o
blockdev --flushbufs /dev/mapper/o
take
before=$(used)
sectors_before=$(devstat "$area" write_sectors)
stomp fill /dev/mapper/o --seq 2
expect 2 "$(status 17)" "chunks with data"
expect 510 "$(status 18)" "zero chunks"
expect $((before + 2)) "$(used)" "area chunks used"
written=$(($(devstat "$area" write_sectors) - sectors_before))
[ $written -lt 4000 ] || fail "$written sectors written for two chunks and records"
show "$ID"
stomp verify "/dev/mapper/c$ID" --seq 0 --start 8 --count 200
stomp verify "/dev/mapper/c$ID" --seq 0 --start 224
stomp verify "/dev/mapper/c$ID" --seq 1 --count 8
expect 1 "$(dd if="/dev/mapper/c$ID" bs=16384 skip=6 count=1 status=none iflag=direct |
	tr -d '\000' | wc -c)" "bytes set in chunk 6"
hide "$ID"
