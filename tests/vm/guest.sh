#!/bin/bash
# Second half of a guest's start: what a test expects of a system, then the
# command, then off.  Runs as process 1 on the root that init made.
#
# /run/out is shared with the build machine:
#	conf	shell assignments by boot (see there)
#	cmd	the command, a bash script
#	output	what it prints
#	up	is there once the guest has got so far, modules not yet loaded
#	status	its exit status: written once, last; without it the run failed
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C.UTF-8 TERM=dumb
out=/run/out
# shellcheck source=/dev/null
. $out/conf

leave()
{
	echo "$1" >$out/status.tmp
	sync $out/status.tmp
	mv $out/status.tmp $out/status
	busybox poweroff -f
	sleep 1000
}

broken()
{
	echo "guest: $*" >>$out/output
	leave 125
}

: >$out/up
mkdir -p /dev/pts /dev/shm /run/lock /run/udev /run/tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t debugfs debug /sys/kernel/debug
mount -t tracefs trace /sys/kernel/tracing 2>/dev/null
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
# A tmpfs: the root is an overlay, which not every file system operation likes.
export TMPDIR=/run/tmp
hostname guest
busybox ip link set lo up

# The modules of the kernel that runs
KVER=$(uname -r)
if [ -n "$MODROOT" ]; then
	mkdir -p "/lib/modules/$KVER"
	mount --bind "$MODROOT/lib/modules/$KVER" "/lib/modules/$KVER"
fi

if [ -n "$UDEV" ]; then
	/lib/systemd/systemd-udevd --daemon || broken "udevd does not start"
	udevadm trigger --action=add
	udevadm settle
else
	# dmsetup makes the nodes itself.
	export DM_DISABLE_UDEV=1
fi

# Messages of a test must not be lost, nor a hang go unnoticed.
echo 0 >/proc/sys/kernel/printk_ratelimit
echo 60 >/proc/sys/kernel/hung_task_timeout_secs
for ko in $MODULES; do
	for dep in dm-mod dm-bufio $(modinfo -F depends "$out/$ko" | tr , ' '); do
		modprobe -q "$dep"
	done
	insmod "$out/$ko" || broken "$ko does not load: $(dmesg | tail -n 3)"
done

# DISKS: the disks given with -d, in that order
export DISKS=
for dev in /dev/vd? /dev/ubd?; do
	[ -b "$dev" ] && DISKS="$DISKS${DISKS:+ }$dev"
done

cd "$DIR" || broken "no directory $DIR"
setsid -w bash $out/cmd >>$out/output 2>&1 </dev/null
leave $?
