#!/bin/bash
# Proves that every table that makes no sense is refused with a reason of its
# own: wrong number of arguments, options, devices, ids, sizes.
. "$(dirname "$0")/../shadow.sh"
devices 8 16
n=$(sectors "$origin")

bad_table "Needs an origin device and a diff device" "0 $n shadow-origin"
bad_table "Needs an origin device and a diff device" "0 $n shadow-origin $origin"
bad_table "Invalid number of options" "0 $n shadow-origin $origin $area 1"
bad_table "Invalid number of options" "0 $n shadow-origin $origin $area 3 cache_kib 2048"
bad_table "Too many arguments" "0 $n shadow-origin $origin $area 0 surplus"
bad_table "Too many arguments" "0 $n shadow-origin $origin $area 2 cache_kib 2048 x"
bad_table "Invalid number of options" "0 $n shadow-origin $origin $area many cache_kib 2048"
bad_table "Unknown option" "0 $n shadow-origin $origin $area 2 cash_kib 2048"
bad_table "Option needs a value" "0 $n shadow-origin $origin $area 1 cache_kib"
for value in x -1 12k '' 0 1023 18446744073709551616 4294967295999; do
	[ -n "$value" ] || continue
	bad_table "Invalid cache_kib" "0 $n shadow-origin $origin $area 2 cache_kib $value"
done
bad_table "Can't open the origin device" "0 $n shadow-origin /dev/nosuch $area"
bad_table "Can't open the diff device" "0 $n shadow-origin $origin /dev/nosuch"
bad_table "Origin and diff area are the same device" "0 $n shadow-origin $origin $origin"
bad_table "Longer than the origin device" "0 $((n + 8)) shadow-origin $origin $area"

bad_table "The origin of this diff area is not active" "0 $n shadow $origin $area 1"
activate
take
bad_table "Needs an origin device, a diff device and the id" "0 $n shadow $origin $area"
bad_table "Needs an origin device, a diff device and the id" "0 $n shadow $origin $area $ID x"
for value in x -1 0x1 99999999999; do
	bad_table "Invalid id of a shadow copy" "0 $n shadow $origin $area $value"
done
bad_table "No such shadow copy in this diff area" "0 $n shadow $origin $area $((ID + 1))"
bad_table "Invalid id of a shadow copy" "0 $n shadow $origin $area 0"
bad_table "Longer than the shadow copy" "0 $((n + 8)) shadow $origin $area $ID"
bad_table "Origin is in use as a diff area" "0 $n shadow $area $origin $ID"
expect 1 "$(status 6)" "copies after all that"
