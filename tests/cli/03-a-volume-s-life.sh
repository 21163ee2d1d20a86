#!/bin/bash
# Proves the way of an NTFS volume through attach, create, list, show, mount,
# delete in any order, merge, deactivate, activate and detach: every copy shows
# the files of its time, and the volume is an ordinary NTFS volume afterwards.
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
cli_devices 64 32
make_ntfs "$origin" 'Tüte'
dev=$(shadowctl attach "$origin" "$area")
expect "/dev/mapper/$vol" "$dev" "what attach prints"
mount_ntfs "$dev" m

declare -A content
for n in 1 2 3; do
	head -c 300000 /dev/urandom >m/file
	echo "$n" >"m/nümber"
	content[$n]=$(sha256sum <m/file)
	copy=$(shadowctl create --name "name $n" m)
	expect "$vol@$n" "$copy" "what create prints"
done
head -c 300000 /dev/urandom >m/file
expect 3 "$(shadowctl list | grep -c "^$vol@")" "lines of list"
shadowctl list | grep -q 'Tüte' || fail "no label in list"

check_copy()
{
	local dir

	dir=$(shadowctl mount "$vol@$1")
	expect "$1" "$(cat "$dir/nümber")" "small file of copy $1"
	expect "${content[$1]}" "$(sha256sum <"$dir/file")" "file of copy $1"
	refuses touch "$dir/x" 2>/dev/null
	exits 5 shadowctl delete --force "$vol@$1"
	says 'is mounted'
	shadowctl unmount "$vol@$1"
	[ ! -d "$dir" ] || fail "mount point is left"
}

for n in 2 1 3; do
	check_copy $n
done
[ "$(json 'j["dirty"]' show "$vol@2")" = false ] || fail "copy of a frozen volume is dirty"
expect filesystem "$(json 'j["consistency"]' show "$vol@2")" consistency
[ "$(json 'j["exempt_bytes"] > 30000000' show "$vol@2")" = true ] ||
	fail "free space is kept"
exits 1 shadowctl delete "$vol@2"
says 'not confirmed'
exits 0 shadowctl delete --force "$vol@2"
exits 4 shadowctl show "$vol@2"
expect "$vol@1 $vol@3 " "$(shadowctl list | awk 'NR > 1 { print $1 }' | tr '\n' ' ')" "copies"
check_copy 1
check_copy 3

exits 5 shadowctl merge --force "$vol@1"
says 'mounted'
exits 5 shadowctl deactivate "$vol"
says 'mounted'
exits 5 shadowctl detach --force --delete-copies "$vol"
says 'mounted'
umount m
exits 0 shadowctl merge --force "$vol@1"
expect 0 "$(json 'j["id"]' merge --status "$vol")" "merge status"
ntfs-3g "$dev" m
expect "${content[1]}" "$(sha256sum <m/file)" "file after the merge"
umount m
check_copy 3

exits 0 shadowctl deactivate "$vol"
expect "" "$(dmsetup ls | grep -v '^No dev' || true)" "devices after deactivate"
expect "$dev" "$(shadowctl activate)" "what activate prints"
[ -b "/dev/mapper/$vol-shadow-3" ] || fail "the copy has no device after activate"
check_copy 3
check_copy 1
exits 5 shadowctl detach "$vol"
says '2 shadow copies'
exits 1 shadowctl detach --delete-copies "$vol"
exits 0 shadowctl detach --delete-copies --force "$vol"
expect "" "$(shadowctl activate)" "what activate finds after detach"
ntfs-3g "$origin" m
expect "${content[1]}" "$(sha256sum <m/file)" "file on the raw volume"
umount m
