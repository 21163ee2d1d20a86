#!/bin/bash
# Proves that a volume that is active refuses another table that would change what
# can't be changed, and devices in each other's places, and stays what it is.
. "$(dirname "$0")/../shadow.sh"
devices 8 16
n=$(sectors "$origin")
stomp fill "$origin" --seq 1
activate
take
load()
{
	dmsetup load o --table "0 $1"
}
says "cache_kib can't change" load "$n shadow-origin $origin $area 2 cache_kib 2048"
says "can't shrink" load "$((n - 64)) shadow-origin $origin $area"
disk 8
other=$DEV
says "in use for another origin" load "$n shadow-origin $other $area"
says "another diff area active" load "$n shadow-origin $origin $other"
says "in use as a diff area" load "$n shadow-origin $area $other"
says "in use as an origin" load "$n shadow-origin $other $origin"
stomp fill /dev/mapper/o --seq 2
holds "$ID" 1
load "$n shadow-origin $origin $area"
dmsetup suspend o
dmsetup resume o
holds "$ID" 1
stomp verify /dev/mapper/o --seq 2
