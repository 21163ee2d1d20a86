#!/bin/bash
# Install what building, demonstrating and testing need, on a fresh Debian 12.
#
#	tests/deps.sh [build|vm|check]...	(no argument: all of them)
#
# Each group is complete in itself.  Nothing is touched when all is there, so
# this may run before every test.
set -euo pipefail

# shellcheck disable=SC2034 # named by the arguments
{
build="build-essential kmod libelf-dev bc libdevmapper-dev libblkid-dev
	libmount-dev libsmartcols-dev libjson-c-dev uuid-dev ntfs-3g-dev
	pkg-config python3-docutils"
vm="$build debian-archive-keyring qemu-system-x86 busybox-static cpio xz-utils
	dmsetup udev fuse3 ntfs-3g fio thin-provisioning-tools e2fsprogs
	util-linux procps python3-minimal libaio-dev samba smbclient"
check="$vm bison flex patchelf git sparse shellcheck cppcheck clang
	libclang-rt-14-dev systemd jq spin"
}

want=
for group in "${@:-check}"; do
	case $group in
	build|vm|check) want+=" ${!group}" ;;
	*) echo "deps.sh: no group '$group'" >&2; exit 1 ;;
	esac
done
# shellcheck disable=SC2086 # a list of words
want=$(printf '%s\n' $want | sort -u)

# shellcheck disable=SC2086
missing=$(comm -23 <(echo "$want") <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' \
	$want 2>/dev/null | sed -n 's/^installed //p' | sort -u))
[ -n "$missing" ] || exit 0

echo "deps.sh: installing" "${missing//$'\n'/ }"
if [ "$(id -u)" -ne 0 ]; then
	echo "deps.sh: need root to install these" >&2
	exit 1
fi

# The services of these packages are wanted in guests only: keep dpkg from
# starting them here.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
fi

export DEBIAN_FRONTEND=noninteractive
apt="apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3"
$apt update </dev/null
# shellcheck disable=SC2086
$apt install -y --no-install-recommends $missing </dev/null
