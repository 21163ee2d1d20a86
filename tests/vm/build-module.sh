#!/bin/bash
# Build dm-shadow.ko, and what the tests have beside it (tests/targets), for one
# kernel of the tests, warnings being errors.
#
#	tests/vm/build-module.sh KERNEL [MAKE-WORD...]	(6.1, uml, ...: see kernel.sh)
#
# With GCOV=y in the environment it counts what it executes (see ../coverage).
# Prints the path of dm-shadow.ko.  Builds in build/KERNEL, from copies of the
# sources, so that kernels do not disturb each other or the tree.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)

kernel=${1:?usage: build-module.sh KERNEL}
shift
env=$("$here/kernel.sh" "$kernel")
eval "$env"

dir=$top/build/$kernel
mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9
echo "obj-m += dm-shadow/ targets/" >"$dir/Kbuild"
for from in dm-shadow tests/targets; do
	to=$dir/${from##*/}
	mkdir -p "$to"
	# Copies keep their times, so that make builds only what changed.
	find "$top/$from" -maxdepth 1 -type f \( -name '*.[ch]' -o -name Kbuild \) \
		-exec cp -p -t "$to" {} +
	# A file that went away must not linger.
	for f in "$to"/*.[ch]; do
		case $f in *.mod.c) continue ;; esac
		[ -e "$top/$from/${f##*/}" ] || rm -f "$f"
	done
done
# shellcheck disable=SC2086 # words
make -s -C "$KDIR" M="$dir" $KMAKE W=1 KCFLAGS=-Werror ${GCOV:+GCOV_PROFILE=y} "$@" modules >&2 </dev/null
echo "$dir/dm-shadow/dm-shadow.ko"
