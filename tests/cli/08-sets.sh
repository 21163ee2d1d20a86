#!/bin/bash
# Proves that a set of volumes is taken at one instant under two writers that
# stamp both alternately: no copy has a later stamp than the other's next; that
# all of it goes by the set's UUID; and that one volume that cannot be held
# makes the whole creation fail with nothing left; and that deactivate --all does not
# keep the one locked while it waits for the other.
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
cli_devices 16 16
o1=$origin a1=$area v1=$vol
cli_devices 16 16
v2=$vol
shadowctl attach "$o1" "$a1" >/dev/null
shadowctl attach "$origin" "$area" >/dev/null

# n to the first, then n to the second, in order
python3 - "/dev/mapper/$v1" "/dev/mapper/$v2" <<'PY' &
import mmap, os, sys
fds = [os.open(p, os.O_RDWR | os.O_DIRECT) for p in sys.argv[1:]]
buf = mmap.mmap(-1, 4096)
n = 0
while True:
    n += 1
    buf[:8] = n.to_bytes(8, "little")
    for fd in fds:
        os.pwrite(fd, buf, 0)
PY
writer=$!
cleanup eval "kill $writer 2>/dev/null; wait $writer 2>/dev/null || true"

stamp()
{
	blockdev --flushbufs "/dev/mapper/$1"
	od -A n -t u8 -N 8 "/dev/mapper/$1" | tr -d ' '
}

written()
{
	[ "$(stamp "$v2")" -gt 0 ]
}
wait_for written
for n in 1 2 3 4 5; do
	set=$(json 'j["copies"][0]["set"]' create "$v1" "$v2")
	a=$(stamp "$v1-shadow-$n")
	b=$(stamp "$v2-shadow-$n")
	[ $((a - b)) -eq 0 ] || [ $((a - b)) -eq 1 ] || fail "stamps $a and $b are not of one instant"
	[ "$a" -gt 0 ] || fail "the writer did not write"
done
kill $writer
wait $writer 2>/dev/null || true
expect 2 "$(json 'j["members"]' show "$v1@5")" members
expect crash "$(json 'j["consistency"]' show "$v1@5")" consistency
exits 0 shadowctl delete --force "$set"
expect 8 "$(json 'len(j["copies"])' list)" copies
exits 1 shadowctl create "$v1" "$v1"
exits 4 shadowctl create "$v1" none
exits 0 shadowctl delete --oldest --force "$v1" "$v2"
expect "$v1@2" "$(shadowctl list "$v1" | awk 'NR == 2 { print $1 }')" "oldest now"

# The second one is somebody else's just now
dmsetup suspend "$v2"
exits 5 shadowctl create "$v1" "$v2"
dmsetup resume "$v2"
expect 6 "$(json 'len(j["copies"])' list)" copies

# The first in the order of deactivation is gone, the second locked by somebody else
lock_of()
{
	echo "/run/shadowctl/lock/$(dmsetup info -c --noheadings -o uuid "$1" | cut -d - -f 2-)"
}

first=$(lock_of "$v1")
exec 9<"$(lock_of "$v2")"
flock 9
shadowctl -q deactivate --all 9<&- &
pid=$!
dm_absent()
{
	! dmsetup info "$1" >/dev/null 2>&1
}
wait_for dm_absent "$v1"
wait_for flock -n "$first" true
exec 9<&-
wait $pid
dm_absent "$v2" || fail "$v2 is still active"
