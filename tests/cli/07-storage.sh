#!/bin/bash
# Proves that limit, policy and resize do what they say, by status, and refuse
# what makes no sense.
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
disk 32; origin=$DEV
cleanup cli_cleanup
vol=shadow-${origin#/dev/}
shadowctl attach "$origin" "$PWD/area" --size 8M >/dev/null
expect $((8 << 20)) "$(json 'j["storage"][0]["size"]' storage list "$vol")" size

limit()
{
	json 'j["storage"][0].get("limit", 0)' storage
}

exits 0 shadowctl storage limit "$vol" 4M
expect $((4 << 20)) "$(limit)" limit
exits 0 shadowctl storage limit "$vol" 75%
expect $((6 << 20)) "$(limit)" limit
for l in 0 1 5K 0% 101% x% 9M 99999999999999999999 -1M ''; do
	exits 1 shadowctl storage limit "$vol" "$l"
done
expect $((6 << 20)) "$(limit)" "limit after refusals"
exits 0 shadowctl storage limit "$vol" none
expect 0 "$(limit)" limit
exits 4 shadowctl storage limit none 1M

policy()
{
	json 'j["storage"][0]["when_full"]' storage
}

for p in invalidate block:30 drop-oldest; do
	exits 0 shadowctl storage policy "$vol" --when-full $p
	expect $p "$(policy)" policy
done
exits 0 shadowctl storage policy "$vol" --when-full invalidate --low-space 55
expect 55 "$(json 'j["storage"][0]["low_space"]' storage)" "low space"
shadowctl deactivate --all
shadowctl activate >/dev/null
expect invalidate "$(policy)" "policy after activation"

exits 0 shadowctl create "$vol"
exits 0 shadowctl storage resize "$vol" 12M
expect $((12 << 20)) "$(json 'j["storage"][0]["size"]' storage)" size
exits 1 shadowctl storage resize "$vol" 4M
says 'not made smaller'
truncate -s 16M area
exits 0 shadowctl storage resize "$vol"
expect $((16 << 20)) "$(json 'j["storage"][0]["size"]' storage)" size

# The volume grows: a copy from before can't be merged
truncate -s 40M "$(losetup -n -O BACK-FILE "$origin")"
losetup -c "$origin"
exits 0 shadowctl storage resize "$vol"
exits 1 shadowctl merge --force "$vol@1"
says 'has grown since'

# Limited below what is used, with a copy to lose
dd if=/dev/urandom of="/dev/mapper/$vol" bs=1M count=6 oflag=direct status=none
exits 1 shadowctl storage limit "$vol" 1M
says 'lose the oldest'
expect 1 "$(json 'len(j["copies"])' list)" copies
exits 0 shadowctl detach --delete-copies --force "$vol"

# One percent of so few chunks is less than one, but not none
shadowctl attach "$origin" "$PWD/few" --size 6M --chunk-size 64K >/dev/null
exits 0 shadowctl storage limit "$vol" 1%
expect $((64 << 10)) "$(limit)" "limit of a percent"
exits 0 shadowctl detach "$vol"
