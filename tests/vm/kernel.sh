#!/bin/bash
# Fetch a stock Debian kernel with its headers, and say where it is.
#
#	tests/vm/kernel.sh [--update] 6.1|6.12|7|KVER|uml|kasan|kcsan
#
# 6.1 is Debian 12's kernel, 6.12 its backport, 7 the newest of the next
# release's backports; KVER names one package exactly (6.1.0-56-amd64).  The others are
# built: see debug-kernel.sh.
# Nothing is installed: the packages are unpacked in the cache.  Once there, no
# network is needed; --update looks for a newer one.
#
# Prints shell assignments:
#	KVER		its release (uname -r)
#	KDIR		for make -C $KDIR M=...
#	KMAKE		further words for that make
#	VMLINUZ		the image
#	MODROOT		for modprobe -d: holds lib/modules/$KVER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/vm/cache.sh
. "$here/cache.sh"

update=
if [ "${1:-}" = --update ]; then
	update=y
	shift
fi
[ $# -eq 1 ] || die "usage: kernel.sh [--update] 6.1|6.12|7|KVER"
want=$1

case $want in
uml|kasan|kcsan) exec "$here/debug-kernel.sh" "$want" ;;
6.1|6.1.*) suite=bookworm ;;
6.12|6.12.*) suite=bookworm-backports ;;
7|7.*) suite=trixie-backports ;;
*) die "no kernel '$want' here" ;;
esac

store=$DMS_CACHE/kernel
mkdir -p "$store"
cache_lock kernel
if [ -z "$update" ] && [ -f "$store/$want/env" ]; then
	cat "$store/$want/env"
	exit 0
fi

apt_setup "$suite" || die "cannot fetch the package lists of $suite"
case $want in
*-amd64) kver=$want ;;
*)
	kver=$(pkg_deps linux-image-amd64 'linux-image-[0-9]')
	kver=${kver#linux-image-}
	;;
esac
[[ $kver == "$want"* ]] || die "$suite has kernel '$kver', not $want"
# An image may also be split into several packages, itself being empty.
image=$(pkg_deps "linux-image-$kver" 'linux-(base|binary|modules)-')
version=$(pkg_field "linux-image-$kver" Version)
[ -n "$version" ] || die "no package linux-image-$kver in $suite"
root=$store/${kver}_$version

# fix_headers TREE: let make -C find the headers where they are unpacked.  The
# paths written are those in $root, where TREE goes when it is complete.
fix_headers()
{
	sed -i "s#\([ =]\)/usr/\(src\|lib\)/#\1$root/usr/\2/#g" \
		"$1/usr/src/linux-headers-$kver/Makefile"
}

# fix_kbuild TREE: the tools in the headers of a newer release want its libc,
# which goes beside them.
fix_kbuild()
{
	local libs=$root/libc/usr/lib/x86_64-linux-gnu f

	apt_setup "${suite%-backports}"
	fetch_debs "$1/debs2" libc6 libelf1t64 libssl3t64 zlib1g libzstd1
	for f in "$1"/debs2/*.deb; do
		dpkg-deb -x "$f" "$1/libc"
	done
	find "$1"/usr/lib/linux-kbuild-*/ -type f -perm -u+x |
	while read -r f; do
		[ "$(head -c 4 "$f" | tail -c 3)" = ELF ] || continue
		patchelf --set-interpreter "$libs/ld-linux-x86-64.so.2" \
			--set-rpath "$libs" "$f"
	done
}

if [ ! -f "$root/env" ]; then
	echo "kernel.sh: fetching $kver ($version)" >&2
	tmp=$(mktemp -d "$store/tmp.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	headers=linux-headers-$kver
	# shellcheck disable=SC2046,SC2086 # lists of words
	fetch_debs "$tmp/debs" ${image:-linux-image-$kver} "$headers" \
		$(pkg_deps "$headers" 'linux-(headers|kbuild)-')
	for deb in "$tmp"/debs/*.deb; do
		dpkg-deb -x "$deb" "$tmp"
	done
	fix_headers "$tmp"
	# Type information needs pahole and the kernel's vmlinux; the kernel
	# loads modules without.
	kmake="CONFIG_DEBUG_INFO_BTF_MODULES="
	if [ "$suite" = trixie-backports ]; then
		fix_kbuild "$tmp"
		kmake+=" CC=gcc-12 CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT="
		kmake+=" PAHOLE=true CONFIG_PAHOLE_VERSION=0"
	fi
	rm -rf "$tmp/debs" "$tmp/debs2" "${tmp:?}/usr/share"
	# Newer packages have usr/lib only, as the merged /usr wants.
	[ -d "$tmp/lib/modules" ] || ln -s usr/lib "$tmp/lib"
	rm -f "$tmp/lib/modules/$kver"/{build,source}
	depmod -b "$tmp" "$kver"
	vmlinuz=boot/vmlinuz-$kver
	[ -f "$tmp/$vmlinuz" ] || vmlinuz=usr/lib/modules/$kver/vmlinuz
	[ -f "$tmp/$vmlinuz" ] || die "no image in the packages of $kver"
	cat >"$tmp/env" <<-END
		KVER='$kver'
		KDIR='$root/usr/src/linux-headers-$kver'
		KMAKE='$kmake'
		VMLINUZ='$root/$vmlinuz'
		MODROOT='$root'
	END
	chmod 755 "$tmp"
	rm -rf "$root"
	mv "$tmp" "$root"
fi
ln -sfn "${root##*/}" "$store/$want"
cat "$root/env"
