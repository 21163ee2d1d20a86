#!/bin/bash
# Proves that processors that work at once do not wait for each other in dm-shadow:
# all of them read and write, and the locks that its code takes meanwhile are counted,
# by lock and processor, where the kernel's lock functions begin.  There are none on
# the way of reads of the origin and of writes to saved chunks; reads of copies take
# only their own processor's; first writes take a few short ones.  That does not
# depend on whether processors are fast enough to meet in this machine.
# slow
. "$(dirname "$0")/../shadow.sh"
requires nm taskset
cpus=$(nproc)
[ "$cpus" -ge 2 ] || skip "one processor"
[ "$cpus" -le 4 ] || cpus=4
t=/sys/kernel/tracing
mountpoint -q $t || mount -t tracefs none $t || skip "no tracefs"
[ -e $t/kprobe_events ] || skip "no kprobes"
[ -e $t/events/lock/contention_begin ] || skip "no events of locks"

# What lies where, in MiB: 0 to 4 and 8 to 12 in the diff area, by a tree with a node
# over its leaves; 4 to 8 on the origin, found between them; 12 to 16 not yet saved.
null_disk 16
origin=$DEV
null_disk 32
area=$DEV
format_area "$area" "$origin"
stomp fill "$origin" --seq 1
activate
take
stomp fill /dev/mapper/o --seq 2 --count 8192
stomp fill /dev/mapper/o --seq 2 --start 16384 --count 8192
message checkpoint
show "$ID"
copy=/dev/mapper/c$ID
stomp verify "$copy" --seq 1			# the index is in memory now

# Those of the kernel's functions that the module calls; where such a one begins, the lock
# and the caller's address are at hand.
functions='(_raw_(spin|read|write)|(rt_)?mutex)_(try)?lock.*|down(_.*)?|percpu_down_.*'
nm -u "$DMS_KO" | awk '{ print $NF }' | grep -xE "$functions" >called
cleanup eval "echo '-:dms/lock' >>$t/kprobe_events"
sed 's/.*/p:dms\/lock & lock=%di caller=+0(%sp):x64/' called >>$t/kprobe_events
taken="hist:keys=lock.hex,common_cpu,caller.sym:size=8192"
ours=" if caller >= $(<"/sys/module/dm_shadow/sections/.text")"
waited="hist:keys=stacktrace"
cleanup eval ": >$t/events/dms/lock/trigger; : >$t/events/lock/contention_begin/trigger"
echo "$taken$ours" >$t/events/dms/lock/trigger
echo "$waited" >$t/events/lock/contention_begin/trigger

# lap WHAT COUNT START DD-WORD...: COUNT requests from each processor, all at once, from
# block START on.  Sets, for the code of dm-shadow, locks: how many were taken, meet: of
# these on locks that another processor takes more often, waits: for any lock.
lap()
{
	local what=$1 count=$2 start=$3 cpu pids=()

	shift 3
	echo "$taken:clear$ours" >>$t/events/dms/lock/trigger
	echo "$waited:clear" >>$t/events/lock/contention_begin/trigger
	for ((cpu = 0; cpu < cpus; cpu++)); do
		taskset -c "$cpu" dd "${@/%=AT/=$((start + cpu * count))}" count="$count" \
			status=none &
		pids+=($!)
	done
	wait "${pids[@]}"
	cat $t/events/dms/lock/hist >taken
	cat $t/events/lock/contention_begin/hist >waited
	read -r locks meet < <(awk -F '[:,}]' '/\[dm_shadow\]/ {
			n += $NF; on[$2, $4] += $NF
			if (on[$2, $4] > most[$2]) most[$2] = on[$2, $4] }
		END { meet = n; for (l in most) meet -= most[l]; print n + 0, meet + 0 }' taken)
	waits=$(awk '/^{/ { ours = 0 } /\[dm_shadow\]/ { ours = 1 }
		/^}/ && ours { n += $NF } END { print n + 0 }' waited)
	requests=$((cpus * count))
	echo "$what: $requests requests, $locks locks, $meet of them another processor's, $waits waits"
	grep -F '[dm_shadow]' taken || true
}

# few WHAT COUNT: one in 20 requests at most, of the last lap
few()
{
	[ $(($2 * 20)) -le $requests ] || fail "$1: $2 in $requests requests"
}

read_from=(bs=4k iflag=direct skip=AT of=/dev/null)
write_to=(if=/dev/zero oflag=direct conv=notrunc seek=AT of=/dev/mapper/o)
lap "origin read" 256 0 if=/dev/mapper/o "${read_from[@]}"
expect "0 0" "$locks $waits" "origin read"
lap "saved chunk written" 256 0 bs=4k "${write_to[@]}"
expect "0 0" "$locks $waits" "saved chunk written"
for where in "0 in the diff area" "1024 on the origin"; do
	lap "copy read, ${where#* }" 256 "${where%% *}" if="$copy" "${read_from[@]}"
	# It is seen if locks are taken: the processor's own.
	[ "$locks" -ge $requests ] || fail "no locks seen"
	few "locks of another processor" "$meet"
	few "waits" "$waits"
done
lap "first write" 64 768 bs=16k "${write_to[@]}"
[ "$locks" -le $((20 * requests)) ] || fail "many locks"
