#!/bin/bash
# Proves that `shadowctl merge` tells when damaged data stops it, and that
# --skip-damaged brings it to its end, for who says so: the chunks left out are
# told by exit status, words and JSON, the rest is what the copy showed.
# dmesg: checksum|merging|stays as it is|left out
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"
cli_devices 8 16
exits 0 shadowctl attach "$origin" "$area"
stomp fill "/dev/mapper/$vol" --seq 1
exits 0 shadowctl create "$vol"
stomp fill "/dev/mapper/$vol" --seq 2
exits 4 shadowctl merge --skip-damaged "$vol"
says 'no merge is under way'
block=$(stomp where "$area" 800 --seq 1)
blocks damage "$area" "$block" 200

exits 8 shadowctl merge --force "$vol@1"
says --skip-damaged
expect "stopped 25" "$(json '"%s %d" % (j["state"], j["done"])' merge --status "$vol")" status
exits 5 shadowctl create "$vol"
says 'a merge is under way'
exits 1 shadowctl merge --skip-damaged "$vol"
says 'not confirmed'
expect stopped "$(json 'j["state"]' merge --status "$vol")" "still"
exits 6 shadowctl merge --skip-damaged --force "$vol"
says '1 chunks that could not be read'
expect "done 1" "$(json '"%s %d" % (j["state"], j["skipped"])' merge --status "$vol")" "at the end"
expect 1 "$(json 'j["volumes"][0]["merge_skipped"]' status "$vol")" "in status"
stomp verify "/dev/mapper/$vol" --seq 1 --count 800
stomp verify "/dev/mapper/$vol" --seq 2 --start 800 --count 32
stomp verify "/dev/mapper/$vol" --seq 1 --start 832
shadowctl deactivate --all
