#!/bin/bash
# Build the debug kernel (ARCH=um, uml.config) from Debian's kernel source.
#
#	tests/vm/uml.sh			prints what kernel.sh prints
#	tests/vm/uml.sh --source	prints the folder of the source only
#
# Takes 5 to 25 minutes of both processors the first time.  The result stays in
# the cache, keyed by the version of the source and by the configuration; an
# interrupted build goes on where it was.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/vm/cache.sh
. "$here/cache.sh"

package=linux-source-6.12
store=$DMS_CACHE/uml
mkdir -p "$store"

# unpack VERSION: the source without what an ARCH=um build never reads
unpack()
{
	tmp=$(mktemp -d "$store/tmp.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	fetch_debs "$tmp/debs" "$package"
	dpkg-deb -x "$tmp"/debs/*.deb "$tmp"
	mkdir "$tmp/tree"
	tar -xf "$tmp/usr/src/$package.tar.xz" -C "$tmp/tree" --strip-components=1 \
		--exclude='*/drivers/gpu/*.[chS]' --exclude='*/sound/*.[chS]' \
		--exclude='*/drivers/net/*/*.c' --exclude='*/drivers/media/*.[ch]' \
		--exclude='*/Documentation/*.rst' --exclude='*.dts' --exclude='*.dtsi' \
		--exclude='*/selftests/*/*.c'
	# A processor with AMX has 11 KiB of extended state, of which all or none
	# can be set; room was left for 2696 bytes up to Linux 6.12.
	sed -i 's/DEFINE_LONGS(HOST_FP_SIZE, 2696)/DEFINE_LONGS(HOST_FP_SIZE, 16384)/' \
		"$tmp/tree/arch/x86/um/user-offsets.c"
	mv "$tmp/tree" "$store/source-$1"
}

if [ "${1:-}" = --source ]; then
	cache_lock uml-source
	source=$(find "$store" -maxdepth 1 -name 'source-*' | sort -V | tail -n 1)
	if [ -z "$source" ]; then
		apt_setup bookworm-backports
		version=$(pkg_field "$package" Version)
		[ -n "$version" ] || die "no package $package"
		unpack "$version"
		source=$store/source-$version
	fi
	echo "$source"
	exit
fi

source=$("$here/uml.sh" --source)
cache_lock uml
hash=$(cat "$here/uml.config" "$(command -v gcc)" | sha256sum | cut -c 1-12)
build=$store/${source##*/source-}-$hash
if [ -f "$build/env" ]; then
	cat "$build/env"
	exit
fi

echo "uml.sh: building the debug kernel in $build" >&2
mkdir -p "$build"
log=$build.log

# One that other work on the machine should not feel
run_make()
{
	nice -n 15 make -C "$source" O="$build" ARCH=um "$@" >>"$log" 2>&1 </dev/null || {
		tail -n 30 "$log" >&2
		die "the debug kernel does not build; all of it is in $log"
	}
}

if [ ! -f "$build/configured" ]; then
	cp "$here/uml.config" "$build/wanted"
	run_make allnoconfig
	(cd "$build" && "$source/scripts/kconfig/merge_config.sh" -m .config wanted) \
		>>"$log" 2>&1
	run_make olddefconfig
	# What is wanted but did not come is a dependency missing.
	grep -E '^(CONFIG|# CONFIG)' "$build/wanted" | while read -r line; do
		name=${line#\# }
		name=${name%%[ =]*}
		case $line in
		"#"*) ! grep -q "^$name=" "$build/.config" ;;
		*) grep -qxF "$line" "$build/.config" ;;
		esac || echo "$line"
	done >"$build/refused"
	[ ! -s "$build/refused" ] || die "not obeyed: $(cat "$build/refused")"
	touch "$build/configured"
fi
run_make -j"$(nproc)"
run_make INSTALL_MOD_PATH="$build/root" modules_install
kver=$(cat "$build/include/config/kernel.release")
rm -f "$build/root/lib/modules/$kver"/{build,source}
cat >"$build/env.tmp" <<END
KVER='$kver'
KDIR='$build'
KMAKE='ARCH=um'
VMLINUZ='$build/linux'
MODROOT='$build/root'
END
mv "$build/env.tmp" "$build/env"
cat "$build/env"
