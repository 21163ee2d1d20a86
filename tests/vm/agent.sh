#!/bin/bash
# Runs tests inside a guest, for tests/run.
#
#	agent.sh KERNEL TEST...		(each tests/GROUP/NN-name.sh)
#
# In /run/out, which outlives the guest:
#	results		a line for each test: pass|fail|skip SECONDS NAME REASON;
#			and leak 0 NAME REASON for memory it left
#	current		the one that runs, so that the one that killed the guest
#			is known
#	deadline	see boot
#	log/GROUP/NN-name.log	what it printed, then what the kernel said
#	gcov.*/		what the module executed, if it was built to tell (one for each boot)
# Run in the top folder.  Ends with 42 if the guest is no longer fit for the tests that remain.
#
# A process costs 20 ms and more in emulation: what is done for every test is
# done by the shell itself where it can.
set -uo pipefail
shopt -s nullglob

out=/run/out
work=/run/agent
export KERNEL=$1 TOP=$PWD
shift
export DMS_KO=$out/dm-shadow.ko

# What the kernel says when something is wrong
splat='WARNING:|BUG:|Oops|KASAN|UBSAN|ODEBUG|kernel BUG|refcount_t:'
splat+='|possible (recursive|circular|irq lock)|inconsistent lock state|lock order inversion'
splat+='|suspicious RCU|bad unlock balance|held lock freed|lock held|non-static key'
splat+='|scheduling while atomic|sleeping function|general protection fault'
splat+='|unable to handle|list_(add|del) corruption|workqueue lockup|soft lockup'
splat+='|detected stalls|task .* blocked|unreferenced object'

# header TEST: set limit and allowed from the comment at its top
header()
{
	local line

	limit=180 allowed='^$'
	while read -r line; do
		case $line in
		'# timeout: '*) limit=${line#*: } ;;
		'# dmesg: '*) allowed=${line#*: } ;;
		'#'*) ;;
		*) break ;;
		esac
	done <"$1"
	case $KERNEL in
	kasan|kcsan) limit=$((limit * 5)) ;;
	esac
	[ -z "${LONG:-}" ] || limit=$((limit * 20))
}

# leftovers: take away what the test left; set left to the names of its
# device-mapper devices
leftovers()
{
	local mounts name devs i

	# Mounts first, newest first
	mapfile -t mounts </proc/self/mountinfo
	for ((i = ${#mounts[@]} - 1; i >= n_mounts; i--)); do
		read -r _ _ _ _ name _ <<<"${mounts[i]}"
		umount -l "$(printf '%b' "$name")"
	done
	left=
	devs=(/sys/block/dm-*)
	for name in "${devs[@]}"; do
		left+="$(<"$name/dm/name") "
	done
	# A stack takes as many passes as it is high.
	for ((i = 0; i < 5 && ${#devs[@]} > 0; i++)); do
		for name in "${devs[@]}"; do
			timeout 10 dmsetup remove --force "$(<"$name/dm/name")"
		done
		devs=(/sys/block/dm-*)
	done
	devs=(/sys/block/loop*/loop)
	[ ${#devs[@]} -eq 0 ] || losetup -D
	for name in /sys/kernel/config/nullb/dms*; do
		rmdir "$name"
	done
	rm -rf "$work/dir"
} >/dev/null 2>&1

# memory_leaks: what the module leaked in the tests of this boot, if this kernel
# has kmemleak.  Objects count once they are five seconds old, so this is done
# once, and the time of an allocation tells the test.
memory_leaks()
{
	local file=/sys/kernel/debug/kmemleak

	[ -w $file ] || return 0
	sleep 5
	# The first scan takes checksums, the second reports what did not change.
	echo scan >$file
	echo scan >$file
	awk -v first="$first_jiffies" -v log_file=$out/log/kmemleak.log '
		FNR == NR { start[++n] = $1; name[n] = $2; next }
		{ print >>log_file }
		/^unreferenced object/ { object = $0 }
		/jiffies/ {
			sub(/.*jiffies /, "")
			test = ""
			for (i = 1; i <= n && start[i] <= $1 - first; i++)
				test = name[i]
		}
		/\[dm_shadow\]/ && test != "" && object != "" {
			print "leak 0", test, object " by " $(NF - 1) " " $NF
			object = ""
		}' $work/starts $file >>$out/results
}

# complaints: what the kernel said, without data races that are none of ours: those
# where we are not among the first three callers of either access
complaints()
{
	awk '
		# A worker that sets its flags, seen by its own tick: the kernel knows
		/BUG: KCSAN: .*kthread_(data|is_per_cpu)/ { race = ""; next }
		/BUG: KCSAN: / { race = $0; next }
		race != "" && /(read|write) .*to 0x/ { frames = 0 }
		race != "" && /[+]0x[0-9a-f]+\/0x/ && ++frames <= 3 && /\[dm_shadow\]/ {
			print race
			race = ""
		}
		/={60}/ { race = "" }
		{ print }' $work/dmesg
}

# run TEST: its log on standard output; sets verdict, reason, and found, the
# first thing the kernel complained about
run()
{
	local rc mounts dog

	header "$1"
	echo $((limit + 90)) >$out/deadline
	mkdir -p $work/dir
	mapfile -t mounts </proc/self/mountinfo
	n_mounts=${#mounts[@]}

	# Where a test hangs, the kernel can tell before it is killed.
	(sleep "$limit" && echo w >/proc/sysrq-trigger) >/dev/null 2>&1 &
	dog=$!
	(cd $work/dir && TMPDIR=$work/dir exec timeout -k 10 $((limit + 2)) bash "$1") \
		</dev/null 2>&1 | { head -c 500000; ! read -r -n 1 || cat >/dev/null; } >$work/log
	rc=${PIPESTATUS[0]}
	kill $dog
	wait $dog
	leftovers
	dmesg -c >$work/dmesg

	cat $work/log
	tail -n 300 $work/dmesg | sed 's/^/kernel: /'
	found=$(complaints | grep -E "$splat" | grep -m 1 -vE "$allowed")

	verdict=fail
	case $rc in
	0) verdict=pass reason= ;;
	4) verdict=skip reason=$(sed -n 's/^SKIP: //p' $work/log) ;;
	124|137) reason="took more than $limit s" ;;
	*) reason=$(sed -n '/^FAIL: /{s///p;q}' $work/log)
	   reason=${reason:-exit status $rc} ;;
	esac
	if [ -n "$left" ]; then
		echo "left behind: $left"
		[ $verdict = fail ] || { verdict=fail reason="left behind: $left"; }
	fi
	[ -z "$found" ] || { verdict=fail reason="kernel: $found"; }
} 2>/dev/null

mkdir -p $work
mount -t tmpfs work $work
dmesg -C
# Both count hundredths of a second, jiffies from five minutes before zero.
first_jiffies=$(((1 << 32) - 300 * 100))
status=0
for test; do
	name=${test#tests/}
	name=${name%.sh}
	echo "$name" >$out/current
	[ -d "$out/log/${name%/*}" ] || mkdir -p "$out/log/${name%/*}"
	start=$EPOCHSECONDS
	read -r up _ </proc/uptime
	echo "${up/./} $name" >>$work/starts
	run "$TOP/$test" >"$out/log/$name.log"
	echo "$verdict $((EPOCHSECONDS - start)) $name $reason" >>$out/results
	rm -f $out/current
	# What cannot be removed would fail every test that follows; after its
	# first report lockdep is off, and after an oops all is in doubt.
	devs=(/sys/block/dm-*)
	if [ ${#devs[@]} -gt 0 ] || [ -n "$found" ]; then
		status=42
		break
	fi
	# The guest as a whole has a limit, too: another goes on with those that remain.
	[ $SECONDS -lt 2400 ] || { status=42; break; }
done
memory_leaks
# What was executed, to add to the numbers of other boots
for object in /sys/kernel/debug/gcov/"$TOP"/build/*/dm-shadow/*.gcda; do
	[ -n "${covered:-}" ] || covered=$(mktemp -d $out/gcov.XXXXXX)
	cat "$object" >"$covered/${object##*/}"
done
exit $status
