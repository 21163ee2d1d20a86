#!/bin/bash
# Proves that a file system lives on the origin: suspend freezes it, so that
# each copy is clean as it is, and holds the files of its time.
# slow
. "$(dirname "$0")/../shadow.sh"
requires mkfs.ext4 e2fsck
devices 32 64
activate
mkfs.ext4 -q -F /dev/mapper/o
mkdir mnt copy
mount /dev/mapper/o mnt
cleanup eval "! mountpoint -q mnt || umount mnt"
cleanup eval "! mountpoint -q copy || umount copy"
declare -A sums
for ((i = 0; i < 4; i++)); do
	mkdir mnt/dir$i
	for ((j = 0; j < 6; j++)); do
		head -c $((RANDOM * 8)) /dev/urandom >mnt/dir$i/file$j
	done
	[ $i -eq 0 ] || rm -r mnt/dir$((i - 1))
	take
	sums[$ID]=$(cd mnt && find . -type f -exec sha256sum {} + | sort)
done
for id in $(ids); do
	show "$id"
	e2fsck -fn "/dev/mapper/c$id" >fsck.log 2>&1 || { tail fsck.log; fail "copy $id is not clean"; }
	mount -o ro "/dev/mapper/c$id" copy
	expect "${sums[$id]}" "$(cd copy && find . -type f -exec sha256sum {} + | sort)" "files of copy $id"
	umount copy
	hide "$id"
done
umount mnt
e2fsck -fn /dev/mapper/o >fsck.log 2>&1 || fail "the origin is not clean"
