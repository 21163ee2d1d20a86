# shellcheck shell=dash
# What is measured, sourced by init in the guest.
#
# The lower 192 MiB of the origin are for random I/O: /bench/slots holds the
# numbers of its 3072 slots of 64 KiB in a random order, and a first touch is a
# write of 4 KiB to a slot not written before, the first to its chunk whatever
# the target's chunks.  The rest is for sequential writes.
#
# shellcheck disable=SC2153,SC2154 # set by init

# log FIRST COUNT [datasync]: an I/O log for fio: writes to COUNT slots from
# number FIRST on
log()
{
	awk -v first="$1" -v count="$2" -v sync="$3" '
	BEGIN { print "fio version 2 iolog\nx add\nx open" }
	NR > first {
		print "x write", $1 * 65536, 4096
		if (sync) print "x", sync, 0, 0
		if (NR == first + count) exit
	}
	END { print "x close" }' /bench/slots >"log.$1.$2$3"
	echo "read_iolog=log.$1.$2$3"
}

# job WORKLOAD OPERATIONS DEVICE DEPTH LINE...: to be done, if wanted
job()
{
	case " $WORKLOADS " in
	*" $1 "*|*" all "*) ;;
	# Others stand on it.
	*) [ "$1" = first ] || return 0 ;;
	esac
	echo "$1 $2" >>jobs.list
	printf '%s\n' "[$1]" "filename=$3" "replay_redirect=$3" "iodepth=$4" >>jobs.fio
	shift 4
	printf '%s\n' "$@" >>jobs.fio
}

jobs_begin()
{
	rm -f ./*.txt jobs.list
	cat >jobs.fio <<-END
	[global]
	ioengine=libaio
	direct=1
	thread
	stonewall
	gtod_reduce=1
	randseed=$SEED
	allow_mounted_write=1
	exec_prerun=/bench/begin
	exec_postrun=/bench/end
	END
}

jobs_run()
{
	local name ops rc=0

	[ -s jobs.list ] || return 0
	fio --disk_util=0 --eta=never --output=fio.log jobs.fio || rc=$?
	while read -r name ops; do
		# shellcheck disable=SC2046 # words
		result R "$DISK" "$TARGET" "$N" "$name" "$ops" \
			$(cat "$name.postrun.txt" 2>/dev/null || echo missing)
	done <jobs.list
	[ $rc = 0 ] || tail -n 5 fio.log
	return $rc
}

run_jobs()
{
	local org=/dev/mapper/org copy=/dev/mapper/copy few=512 many=2048

	jobs_begin
	if [ "$N" = 0 ]; then
		job write $many $org 16 "$(log 0 $many)"
		job write1 $few $org 1 "$(log 2048 $few)"
		job sync1 256 $org 1 "$(log 2560 256 datasync)"
		job seqwrite 48 $org 4 rw=write bs=1m offset=192m size=48m
		job read $many $org 16 rw=randread bs=4k size=192m io_size=8m
		job seqread 192 $org 4 rw=read bs=1m size=192m
		jobs_run
		return
	fi
	case $TARGET in
	snap*) [ "$N" = 1 ] || few=$((512 / N)) many=$((2048 / N)) ;;
	esac
	job first $many $org 16 "$(log 0 $many)"
	job saved $many $org 16 "$(log 0 $many)"
	job saved1 $few $org 1 "$(log 0 $few)"
	job first1 $few $org 1 "$(log 2048 $few)"
	job copyread 2048 $copy 16 rw=randread bs=4k size=192m io_size=8m
	job copyseqread 192 $copy 4 rw=read bs=1m size=192m
	if [ "$N" = 1 ]; then
		job read 2048 $org 16 rw=randread bs=4k size=192m io_size=8m
		job seqread 192 $org 4 rw=read bs=1m size=192m
		job firstsync1 256 $org 1 "$(log 2560 256 datasync)"
		job firstseq 48 $org 4 rw=write bs=1m offset=192m size=48m
	fi
	jobs_run
}

run_state()
{
	local rc=0

	setup "$TARGET" "$N" && take "$N" && run_jobs || rc=1
	teardown || rc=1
	return $rc
}

# run_merge WORKLOAD OPERATIONS LINE...: merge what fio's lines have overwritten
run_merge()
{
	local name=$1 ops=$2 rc=0

	case " $WORKLOADS " in
	*" $name "*|*" all "*) ;;
	*) return 0 ;;
	esac
	shift 2
	setup "$TARGET" 1 && take 1 && {
		jobs_begin
		printf '%s\n' '[x]' filename=/dev/mapper/org \
			replay_redirect=/dev/mapper/org "$@" >>jobs.fio
		fio --eta=never --output=fio.log jobs.fio
	} && /bench/begin && merge || rc=1
	# shellcheck disable=SC2046 # words
	[ $rc = 1 ] || result R "$DISK" "$TARGET" 1 "$name" "$ops" $(/bench/end)
	teardown || rc=1
	return $rc
}

run_merges()
{
	run_merge merge 1024 iodepth=16 "$(log 0 1024)" &&
	run_merge mergeseq 3072 iodepth=4 rw=write bs=1m offset=192m size=48m
}

# run_age WORKLOAD OPTION...: a simulated year; not one of "all"
run_age()
{
	local name=$1 leaked rc=0

	case " $WORKLOADS " in
	*" $name "*) ;;
	*) return 0 ;;
	esac
	shift
	shadow_format "$TARGET" || return
	{
		age -h "$HOURS" -s "$SEED" "$@" "$ODEV" "$DDEV" ||
			result "FAIL $DISK $TARGET $name"
	} | awk -v "to=A $DISK $TARGET $name" '{ print to, $0; fflush() }' >/dev/ttyS1
	dmsetup remove age-copy 2>/dev/null
	dmsetup remove age 2>/dev/null
	shadowctl -o json check "$DDEV" >check.log || rc=$?
	cat check.log
	leaked=$(sed -n 's/.*"leaked_chunks": *\([0-9]*\).*/\1/p' check.log)
	result "A $DISK $TARGET $name $((HOURS - 1)) ${leaked:-missing} leaked chunks, by shadowctl check"
	return $rc
}

# age-full: an area too small for more than the copies of some days
run_ages()
{
	run_age age && run_age age-full -l 1000
}
