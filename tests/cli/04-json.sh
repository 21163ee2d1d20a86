#!/bin/bash
# Proves that the JSON output of every command is valid, has its version, plain
# numbers and the same values as the text, for hostile labels, names and times too,
# and for nothing at all.
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
exits 0 shadowctl list
exits 0 shadowctl -o json status
expect '{"version":1,"copies":[]}' "$(shadowctl -o json list | tr -d ' \n')" "JSON of nothing"
expect "" "$(shadowctl list)" "table of nothing"
cli_devices 32 16
make_ntfs "$origin" $'a"b\\c\'d'
expect 1 "$(json 'j["version"]' attach "$origin" "$area")" "version"
expect "$vol" "$(json 'j["volumes"][0]["volume"]' status)" "volume"
evil=$'x\e[31m"\\\n\t\x7f\xff\xc3\x28ü\u202e end'
expect 1 "$(json 'j["copies"][0]["id"]' create "$vol" --name "$evil")" "id"
expect "$vol@1" "$(json 'j["copies"][0]["copy"]' list)" "copy"
[ "$(json '"ü" in j["name"] and "end" in j["name"] and "\x1b" not in j["name"]' show "$vol@1")" = true ] ||
	fail "name: $(shadowctl show "$vol@1")"
for cmd in "list" "show $vol@1" "status" "storage list"; do
	# shellcheck disable=SC2086
	! shadowctl $cmd | LC_ALL=C grep -q $'[\e\x7f]' || fail "control characters in '$cmd'"
done
expect $'a"b\\c\'d' "$(json 'j["label"]' show "$vol@1")" "label"
[ "$(json 'isinstance(j["created"], int) and abs(j["created"] - __import__("time").time()) < 600' show "$vol@1")" = true ]
expect $((32 << 20)) "$(json 'j["size"]' show "$vol@1")" "size"
[ "$(json 'len(j["serial"]) == 16 and j["cluster_size"] == 4096' show "$vol@1")" = true ] ||
	fail "$(shadowctl show "$vol@1")"
uuid=$(json 'j["uuid"]' show "$vol@1")
set=$(json 'j["set"]' show "$vol@1")
expect "$vol@1" "$(json 'j["copy"]' show "$uuid")" "by uuid"
expect "$vol@1" "$(json 'j["copy"]' show "/dev/mapper/$vol-shadow-1")" "by device"
expect "$vol@1" "$(json 'j["copy"]' show "$vol-shadow-1")" "by node"
exits 0 shadowctl rename "$uuid" plain
expect plain "$(json 'j["name"]' show "$vol@1")" "name"
exits 0 shadowctl rename "$uuid" "$(printf 'long ü %.0s' {1..600})"
[ "$(json '100 < len(j["name"]) < 2048' show "$vol@1")" = true ] || fail "long name"
[ "$(json 'j["machine"] == "guest"' show "$vol@1")" = true ] || true
expect "$((16 << 20))" "$(json 'j["storage"][0]["size"]' storage)" "size of the area"
[ "$(json 'j["volumes"][0]["mode"]' status "$origin")" = rw ]
exits 0 shadowctl lock "$vol@1" +1h
exits 5 shadowctl delete --force "$vol@1"
says 'locked until'
[ "$(json 'j["locked_until"] > j["created"] + 3000' show "$vol@1")" = true ]
# A time that no calendar has
dmsetup message "$vol" 0 lock 1 67768036191763200
exits 5 shadowctl delete --force "$vol@1"
says 'locked until @67768036191763200,'
shadowctl show "$vol@1" | grep -q ' @67768036191763200$' || fail "time: $(shadowctl show "$vol@1")"
exits 0 shadowctl unlock "$vol@1"
exits 0 shadowctl delete --force "$set"
exits 4 shadowctl delete --force "$set"
exits 4 shadowctl delete --force --oldest "$vol"
shadowctl deactivate --all
