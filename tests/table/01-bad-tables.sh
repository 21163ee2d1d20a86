#!/bin/bash
# Proves that every table that makes no sense is refused with a reason of its
# own: wrong number of arguments, options, devices, ids, sizes.
. "$(dirname "$0")/../shadow.sh"
devices 8 16
n=$(sectors "$origin")

bad_table 'needs' "0 $n shadow-origin"
bad_table 'needs' "0 $n shadow-origin $origin"
bad_table 'argument|option|parameter' "0 $n shadow-origin $origin $area 1"
bad_table 'argument|option|parameter' "0 $n shadow-origin $origin $area 3 cache_kib 2048"
bad_table 'argument|option|parameter|extra' "0 $n shadow-origin $origin $area 0 surplus"
bad_table 'argument|option|parameter|extra' "0 $n shadow-origin $origin $area 2 cache_kib 2048 x"
bad_table 'option|number' "0 $n shadow-origin $origin $area many cache_kib 2048"
bad_table 'option' "0 $n shadow-origin $origin $area 2 cash_kib 2048"
bad_table 'option|value|argument' "0 $n shadow-origin $origin $area 1 cache_kib"
for value in x -1 12k '' 0 1023 18446744073709551616 4294967295999; do
	[ -n "$value" ] || continue
	bad_table 'cache_kib|cache' "0 $n shadow-origin $origin $area 2 cache_kib $value"
done
bad_table 'origin|device' "0 $n shadow-origin /dev/nosuch $area"
bad_table 'diff|device' "0 $n shadow-origin $origin /dev/nosuch"
bad_table 'same|itself|differ' "0 $n shadow-origin $origin $origin"
bad_table 'longer|small|size|length' "0 $((n + 8)) shadow-origin $origin $area"

bad_table 'not active|no.*active|inactive|origin' "0 $n shadow $origin $area 1"
activate
take
bad_table 'needs' "0 $n shadow $origin $area"
bad_table 'needs' "0 $n shadow $origin $area $ID x"
for value in x -1 0x1 99999999999; do
	bad_table 'id|number|copy' "0 $n shadow $origin $area $value"
done
bad_table 'no.*copy|unknown|no such' "0 $n shadow $origin $area $((ID + 1))"
bad_table 'no.*copy|unknown|no such|id' "0 $n shadow $origin $area 0"
bad_table 'length|size|long|sectors' "0 $((n + 8)) shadow $origin $area $ID"
bad_table 'active|diff|area|origin' "0 $n shadow $area $origin $ID"
expect 1 "$(status 6)" "copies after all that"
