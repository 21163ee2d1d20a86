#!/bin/bash
# Proves that a diff area can be active once only, that it goes with its origin
# and no other, and that what is refused leaves the active one in order.
. "$(dirname "$0")/../shadow.sh"
devices 8 16
disk 8
other=$DEV
disk 16
blank=$DEV
stomp fill "$origin" --seq 1
activate
take
n=$(sectors "$origin")
bad_table "Diff area is in use by another device" "0 $n shadow-origin $origin $area"
bad_table "Diff area is in use for another origin" "0 $n shadow-origin $other $area"
bad_table "Origin has another diff area active" "0 $n shadow-origin $origin $blank"
bad_table "Diff area is in use for another origin" "0 $n shadow $other $area $ID"
stomp fill /dev/mapper/o --seq 2
holds "$ID" 1
