#!/bin/bash
# Build the debug kernel (ARCH=um, uml.config) from Debian's kernel source.
#
#	tests/vm/uml.sh
#
# Takes 5 to 25 minutes of both processors the first time.  The result stays in
# the cache, keyed by the version of the source and by the configuration; an
# interrupted build goes on where it was.  Prints what kernel.sh prints.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/vm/cache.sh
. "$here/cache.sh"

source=linux-source-6.12
store=$DMS_CACHE/uml
mkdir -p "$store"
cache_lock uml

hash=$(cat "$here/uml.config" "$(command -v gcc)" | sha256sum | cut -c 1-12)
if [ -f "$store/$hash/env" ]; then
	cat "$store/$hash/env"
	exit 0
fi

# unpack VERSION: the source without what an ARCH=um build never reads
unpack()
{
	local tmp tree=$store/source-$1

	[ ! -d "$tree" ] || return 0
	tmp=$(mktemp -d "$store/tmp.XXXXXX")
	# shellcheck disable=SC2064 # this one
	trap "rm -rf '$tmp'" EXIT
	fetch_debs "$tmp/debs" "$source"
	dpkg-deb -x "$tmp"/debs/*.deb "$tmp"
	mkdir "$tmp/tree"
	tar -xf "$tmp/usr/src/$source.tar.xz" -C "$tmp/tree" --strip-components=1 \
		--exclude='*/drivers/gpu/*.[chS]' --exclude='*/sound/*.[chS]' \
		--exclude='*/drivers/net/*.c' --exclude='*/drivers/media/*.[ch]' \
		--exclude='*/Documentation/*.rst' --exclude='*.dts' --exclude='*.dtsi' \
		--exclude='*/selftests/*/*.c'
	mv "$tmp/tree" "$tree"
	rm -rf "$tmp"
	trap - EXIT
}

version=$(find "$store" -maxdepth 1 -name 'source-*' | sort -V | tail -n 1)
version=${version##*/source-}
if [ -z "$version" ]; then
	apt_setup bookworm-backports
	version=$(pkg_field "$source" Version)
	[ -n "$version" ] || die "no package $source"
	unpack "$version"
fi

build=$store/$hash
echo "uml.sh: building the debug kernel ($version)" >&2
mkdir -p "$build"
log=$build.log
cp "$here/uml.config" "$build/wanted"

# One that other work on the machine should not feel
run_make()
{
	nice -n 15 make -C "$store/source-$version" O="$build" ARCH=um "$@" \
		>>"$log" 2>&1 </dev/null || {
		tail -n 30 "$log" >&2
		die "the debug kernel does not build; all of it is in $log"
	}
}

if [ ! -f "$build/configured" ]; then
	run_make allnoconfig
	(cd "$build" && "$store/source-$version/scripts/kconfig/merge_config.sh" \
		-m .config wanted) >>"$log" 2>&1
	run_make olddefconfig
	grep -E '^(CONFIG|# CONFIG)' "$build/wanted" | while read -r line; do
		grep -qxF "$line" "$build/.config" || case $line in
		"# CONFIG"*) ! grep -q "^${line:2:-11}=" "$build/.config" ;;
		*) false ;;
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
