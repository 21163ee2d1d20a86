#!/bin/bash
# Proves that attach refuses volumes in use, diff areas that hold something, are
# another volume's, overlap the volume or are being repaired, with a reason each,
# and that neither device has changed by a byte then.
# timeout: 300
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
requires mkfs.ext4 mkswap wipefs
cli_devices 16 16
disk 16; other=$DEV
make_ntfs "$origin"
before=$(sum "$origin")

refused()
{
	local want=$1 word=$2

	shift 2
	exits "$want" shadowctl attach "$@"
	says "$word"
	expect "" "$(dmsetup ls | grep -v '^No dev' || true)" "devices after a refusal"
}

# Locks that others could hold; the mount points beside them are for all
mkdir -p /run/shadowctl/lock
chmod 777 /run/shadowctl/lock
refused 2 'not ours alone' "$origin" "$area"
rm -rf /run/shadowctl
(umask 077; refused 4 'No such file' /dev/none "$area")
expect "755 700" "$(stat -c %a /run/shadowctl /run/shadowctl/lock | paste -sd ' ')" "modes"
refused 4 'No such file' /dev/none "$area"
refused 4 'no block device' "$PWD" "$area"
refused 4 'no block device' /dev/null "$area"
refused 4 'no such device or file' "$origin" "$PWD/none"
refused 4 'neither' "$origin" "$PWD"
refused 1 'same device' "$origin" "$origin"
refused 5 'exists already, --size' "$origin" "$area" --size 16M
refused 7 'too small' "$origin" "$PWD/small" --size 64K
[ ! -e small ] || fail "a file that was refused is left"
refused 1 'is no size' "$origin" "$PWD/small" --size much

mkfs.ext4 -q "$area" 8M
refused 4 'ext' "$origin" "$area"
mkdir m
mount "$area" m
refused 5 'mounted on' "$origin" "$area"
# The volume mounted, and a file on the volume
refused 5 'mounted on' "$area" "$other"
umount m
wipefs -q -a "$area"
mkswap "$area" >/dev/null
refused 4 'swap' "$origin" "$area"
wipefs -q -a "$area"
dm_create held "0 2048 linear $area 0"
exits 5 shadowctl attach "$origin" "$area"
says 'in use by'
dm_remove held

# A file on a file system on the volume
mkfs.ext4 -q -F "$other"
mount "$other" m
refused 5 'mounted on' "$other" m/area --size 8M
umount m
# A device that is part of the volume
dm_create part "0 16384 linear $other 8192"
exits 5 shadowctl attach "$other" /dev/mapper/part
says 'in use by'
exits 1 shadowctl attach /dev/mapper/part "$other"
says 'shares its space'
dm_remove part

# Another volume's
truncate -s 16M two
two=$(losetup --show -f two)
cleanup losetup -d "$two"
make_ntfs "$two"
dd if=/dev/zero of="$area" bs=1M count=16 status=none
exits 0 shadowctl attach "$two" "$area"
refused_active=$(shadowctl attach "$origin" "$area" 2>&1) && fail "an active diff area was taken"
[[ $refused_active == *'in use'* ]] || fail "said: $refused_active"
exits 5 shadowctl attach "$two" "$other"
says 'attached already'
exits 5 shadowctl attach "/dev/mapper/shadow-${two#/dev/}" "$other"
says 'attached already'
shadowctl deactivate --all
refused 4 'another volume' "$origin" "$area"
[ "$(shadowctl attach "$two" "$area")" = "/dev/mapper/shadow-${two#/dev/}" ] ||
	fail "its own volume's diff area was refused"
shadowctl deactivate --all
refused 1 'another chunk size' "$two" "$area" --chunk-size 64K

# Damaged: both superblocks have a wrong byte
for block in 0 8; do
	printf '\377' | dd of="$area" bs=1 seek=$((block * 4096 + 3000)) conv=notrunc status=none
done
refused 6 '' "$two" "$area"

expect "$before" "$(sum "$origin")" "the volume"
# --force takes anything that is not in use
exits 0 shadowctl attach "$origin" "$area" --force
expect "$before" "$(sum "$origin")" "the volume"

# A file at whose repair somebody looks: all others wait, and losetup, which does not
# ask, keeps the repair from it.
file=$PWD/file
truncate -s 16M "$file"
shadowctl format "$file" --origin "$two" >/dev/null
blocks damage "$file" 0
cp "$file" damaged
cat >ask.py <<'EOF'
import os, pty, subprocess, sys, time
us, them = pty.openpty()
p = subprocess.Popen(["shadowctl", "check", "--repair", sys.argv[1]],
                     stdin=them, stderr=them, stdout=open("out", "w"))
said = b""
while b"[y/N]" not in said:
    said += os.read(us, 4096)
open("asked", "w")
while not os.path.exists("answer"):
    time.sleep(0.1)
os.write(us, b"y\n")
sys.exit(p.wait())
EOF
python3 ask.py "$file" &
wait_for test -e asked
grep -q '^damage: superblock' out || fail "it asks before it says why"
exits 5 shadowctl check "$file"
says 'in use'
exits 5 shadowctl format "$file" --origin "$two" --force
refused=$(shadowctl attach "$two" "$file" 2>&1) && fail "a file under repair was taken"
[[ $refused == *busy* ]] || fail "said: $refused"
loop=$(losetup --show -f "$file")
touch answer
rc=0
wait $! || rc=$?
losetup -d "$loop"
expect 5 $rc "status of the repair of a file that got a loop device"
cmp "$file" damaged
exits 0 shadowctl check --repair --force "$file"
exits 0 shadowctl attach "$two" "$file"
exits 5 shadowctl check "$file"
says 'in use by /dev/loop'
! flock -n "$file" true || fail "the loop device does not keep the lock"
exits 0 shadowctl detach "$two"
