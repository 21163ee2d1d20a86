#!/bin/bash
# Proves that activate finds volumes and their diff areas by what is on them,
# whatever the devices are called now, and those in files by their paths; that a
# volume written meanwhile makes its copies suspect until they are trusted; and
# that what is missing or ambiguous is said.
# timeout: 400
# dmesg: was written|suspect|changed
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
requires mkfs.ext4
truncate -s 32M o1 o2 o3
truncate -s 16M a1
need_module loop
cleanup rm -f o1 o2 o3 a1
cleanup cli_cleanup
o1='' o2='' o3='' a1=''

# up NAME...: the file NAME as a loop device, whose path goes to the variable
up()
{
	local f

	for f; do
		printf -v "$f" %s "$(losetup --show -f "$f")"
	done
}

down()
{
	losetup -d "$@"
}

up o1 a1
make_ntfs "$o1"
shadowctl attach "$o1" "$a1" --name vol-one >/dev/null
exits 0 shadowctl create vol-one
shadowctl deactivate --all
down "$o1" "$a1"

# Other names, other order; the name of the node stays
up o3 a1 o2 o1
expect /dev/mapper/vol-one "$(shadowctl activate)" "activated"
expect "$o1" "$(json 'j["volumes"][0]["origin"]' status)" "origin"
expect /dev/mapper/vol-one "$(shadowctl activate)" "activated again"
expect valid "$(json 'j["state"]' show vol-one@1)" "state"
exits 0 shadowctl deactivate vol-one
for spec in vol-one "$o1" "$a1"; do
	expect /dev/mapper/vol-one "$(shadowctl activate "$spec")" "activated as $spec"
	exits 0 shadowctl deactivate vol-one
done
exits 4 shadowctl activate "$o2"
says 'no diff area'

# Nodes that a killed shadowctl left without a table, also under another name
uuid=DMSHADOW-$(json 'j["volumes"][0]["uuid"]' activate)
exits 0 shadowctl deactivate --all
for name in vol-one other; do
	dmsetup create $name --notable -u "$uuid"
	expect /dev/mapper/vol-one "$(shadowctl attach "$o1" "$a1")" "attached over $name"
	exits 0 shadowctl deactivate vol-one
	dmsetup create $name --notable -u "$uuid"
	dmsetup create vol-one-shadow-1 --notable -u "$uuid-1"
	expect /dev/mapper/vol-one "$(shadowctl activate)" "activated over $name"
	expect valid "$(json 'j["state"]' show /dev/mapper/vol-one-shadow-1)" "state"
	exits 0 shadowctl deactivate vol-one
done

# Somebody else's device does not answer: what depends on it can wait
dm_create held "0 $(sectors "$o3") linear $o3 0"
dmsetup suspend held
said=$(timeout -s KILL 20 shadowctl activate 2>&1)
[[ $said == *'/dev/mapper/held: is suspended, not looked at'* && $said == */dev/mapper/vol-one ]] || fail "said: $said"
exits 0 shadowctl deactivate vol-one
dmsetup resume held
dm_remove held

# Volume gone; two that look like it
down "$o1"
exits 4 shadowctl activate
says 'is not there'
up o1
cp o1 o2
down "$o2"
up o2
exits 5 shadowctl activate
says 'both look like'
down "$o2"
: >o2
truncate -s 32M o2
# Shorter than recorded
down "$o1"
truncate -s 31M o1
up o1
exits 4 shadowctl activate
down "$o1"
truncate -s 32M o1
up o1

# In use
mkdir m
need_module fuse
ntfs-3g "$o1" m
exits 5 shadowctl activate
says 'mounted on'
# Written meanwhile
head -c 100000 /dev/urandom >m/file
retry umount m
exits 0 shadowctl activate
says 'suspect'
expect suspect "$(json 'j["state"]' show vol-one@1)" "state"
exits 0 shadowctl list
says 'suspect'
exits 0 shadowctl activate --trust
expect valid "$(json 'j["state"]' show vol-one@1)" "state"
shadowctl detach --delete-copies --force vol-one

# In a file, with a name that wants care
file=$PWD/$'a file\n'"with 'a\" name"
shadowctl attach "$o1" "$file" --size 8M --name vol-file >/dev/null 2>&1
cleanup rm -f "$file"
exits 0 shadowctl create vol-file
shadowctl deactivate --all
expect 0 "$(losetup -a | grep -c "with 'a" || true)" "loop devices of the file"
expect /dev/mapper/vol-file "$(shadowctl activate)" "activated"
expect 1 "$(json 'len(j["copies"])' list)" "copies"
# A copy whose device's name is taken costs no more than that device
shadowctl deactivate --all
dm_create vol-file-shadow-1 "0 8 error"
exits 5 shadowctl activate
says 'is not ours'
exits 0 shadowctl deactivate vol-file
rc=0
dev=$(SHADOWCTL_STATE_DIR=$PWD/new shadowctl attach "$o1" "$file" 2>err) || rc=$?
expect "/dev/mapper/vol-file 5" "$dev $rc" "attached"
grep -q 'is not ours' err
expect "$file" "$(readlink new/areas/*)" "where the file is found again"
dm_remove vol-file-shadow-1
exits 0 shadowctl activate
[ -b /dev/mapper/vol-file-shadow-1 ]

# One on the other, by a loop device that goes with it; its number is the lower
nodes_left()
{
	dmsetup ls | sed -n '/^no-file\t/d; s/\t.*//p'
}

shadowctl deactivate --all
dm_create no-file "0 $(sectors "$a1") linear $a1 0"
dmsetup create low --notable
exits 0 shadowctl activate
dmsetup remove low
upper=$(losetup --show -f /dev/mapper/vol-file)
exits 0 shadowctl attach "$upper" /dev/mapper/no-file --name upper
losetup -d "$upper"
exits 5 shadowctl deactivate --files
says 'vol-file: is in use'
exits 0 shadowctl deactivate --all
expect "" "$(nodes_left)" "devices after deactivate --all"
# Those with areas in files alone
exits 0 shadowctl attach "$o3" /dev/mapper/no-file --force --name on-device
exits 0 shadowctl activate
exits 0 shadowctl deactivate --files
expect on-device "$(nodes_left)" "devices after deactivate --files"
exits 0 shadowctl detach --force on-device
dm_remove no-file
exits 0 shadowctl activate
exits 0 shadowctl detach --delete-copies --force vol-file
expect "" "$(shadowctl activate)" "activated after detach"

# Of an image file, formatted before there is a device of it
shadowctl format "$a1" --origin ./o1 >/dev/null
expect "/dev/mapper/shadow-${o1#/dev/}" "$(shadowctl activate)" "activated by the image's path"
exits 0 shadowctl detach "$o1"
down "$o1" "$o3" "$a1"
