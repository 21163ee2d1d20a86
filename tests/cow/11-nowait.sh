#!/bin/bash
# Proves that requests that must not wait are right or refused with EAGAIN, on
# the origin and on copies; never wrong, never hung.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 16
stomp fill "$origin" --seq 1
activate
take
show "$ID"

# try COMMAND...: it succeeds, or says that it would have to wait
try()
{
	local said

	said=$("$@" 2>&1) && return
	[[ $said == *"temporarily unavailable"* || $said == *"not supported"* ]] ||
		fail "$*: $said"
}
for ((i = 0; i < 20; i++)); do
	try stomp write /dev/mapper/o $((i * 64)) 8 --seq 1 --nowait
	try stomp read "/dev/mapper/c$ID" $((i * 64)) 16 --seq 1 --nowait
	try stomp read /dev/mapper/o $((i * 64)) 16 --seq 1 --nowait
done
stomp fill /dev/mapper/o --seq 2
for ((i = 0; i < 20; i++)); do
	try stomp write /dev/mapper/o $((i * 64)) 8 --seq 2 --nowait
	try stomp read "/dev/mapper/c$ID" $((i * 64)) 16 --seq 1 --nowait
done
stomp verify "/dev/mapper/c$ID" --seq 1
stomp verify /dev/mapper/o --seq 2
