#!/bin/bash
# Build a debug kernel (config/) from Debian's kernel source.
#
#	tests/vm/debug-kernel.sh uml|kasan|kcsan	prints what kernel.sh prints
#	tests/vm/debug-kernel.sh --source		prints the folder of the source only
#
# uml is user-mode Linux with KASAN, lockdep and more; kasan the same on x86, with
# several processors; kcsan finds data races.  The first takes 5 to 25 minutes of both
# processors the first time, the others twice as long.  The result stays in the cache,
# keyed by the version of the source and by the configuration; an interrupted build goes
# on where it was.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/vm/cache.sh
. "$here/cache.sh"

package=linux-source-6.12
store=$DMS_CACHE/debug
mkdir -p "$store"

# unpack VERSION: the source without what no debug kernel has
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
	cache_lock debug-source
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

name=${1:?usage: debug-kernel.sh NAME}
case $name in
uml) arch=um parts="common um kasan gcov" image=linux ;;
kasan) arch=x86_64 parts="common x86 kasan" image=arch/x86/boot/bzImage ;;
kcsan) arch=x86_64 parts="common x86 kcsan" image=arch/x86/boot/bzImage ;;
*) die "no kernel '$name' here" ;;
esac
source=$("$here/debug-kernel.sh" --source)
cache_lock "$name"
wanted=
for part in $parts; do
	wanted+=$(cat "$here/config/$part")$'\n'
done
hash=$({ echo "$wanted"; cat "$(command -v gcc)"; } | sha256sum | cut -c 1-12)
build=$store/$name-${source##*/source-}-$hash
if [ -f "$build/env" ]; then
	cat "$build/env"
	exit
fi

echo "debug-kernel.sh: building $name in $build" >&2
mkdir -p "$build"
log=$build.log

# One that other work on the machine should not feel
run_make()
{
	nice -n 15 make -C "$source" O="$build" ARCH="$arch" "$@" >>"$log" 2>&1 </dev/null || {
		tail -n 30 "$log" >&2
		die "the kernel does not build; all of it is in $log"
	}
}

if [ ! -f "$build/configured" ]; then
	echo "$wanted" >"$build/wanted"
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
KMAKE='ARCH=$arch'
VMLINUZ='$build/$image'
MODROOT='$build/root'
END
mv "$build/env.tmp" "$build/env"
cat "$build/env"
