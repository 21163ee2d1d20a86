#!/bin/bash
# Proves that with the udev rules installed /dev/disk/by-uuid leads to the
# origin's node, and that copies, which have the same serial, never take it.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
need_udev
install -D -m 644 "$TOP/userspace/udev/11-dm-shadow.rules" /run/udev/rules.d/11-dm-shadow.rules
cleanup rm -f /run/udev/rules.d/11-dm-shadow.rules
udevadm control --reload
cli_devices 32 16
make_ntfs "$origin"
udevadm trigger --action=change "$origin" --settle
serial=$(blkid -o value -s UUID -p "$origin")

link()
{
	udevadm settle
	readlink -f "/dev/disk/by-uuid/$serial"
}

shadowctl attach "$origin" "$area" >/dev/null
node=$(readlink -f "/dev/mapper/$vol")
expect "$node" "$(link)" "link after attach"
for n in 1 2 3; do
	shadowctl create "$vol" >/dev/null
	expect "$node" "$(link)" "link after copy $n"
done
udevadm trigger --action=change --settle "/dev/mapper/$vol-shadow-2" "$origin"
expect "$node" "$(link)" "link after a change of a copy"
udevadm trigger --action=add --subsystem-match=block --settle
expect "$node" "$(link)" "link after a cold plug"
[ -b "/dev/mapper/$vol" ] || fail "the node's link in /dev/mapper is gone"
exits 0 shadowctl deactivate --all
expect "$(readlink -f "$origin")" "$(link)" "link after deactivate"
