#!/bin/bash
# Build dm-shadow.ko, and what the tests have beside it (dm-recorder.ko), for one
# kernel of the tests, warnings being errors.
#
#	tests/vm/build-module.sh 6.1|6.12|7|uml [MAKE-WORD...]
#
# Prints the path of dm-shadow.ko.  Builds in build/KERNEL, from copies of the
# sources, so that kernels do not disturb each other or the tree.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)

kernel=${1:?usage: build-module.sh KERNEL}
shift
if [ "$kernel" = uml ]; then
	env=$("$here/uml.sh")
else
	env=$("$here/kernel.sh" "$kernel")
fi
eval "$env"

dir=$top/build/$kernel
mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9
echo "obj-m += dm-shadow/ recorder/" >"$dir/Kbuild"
for from in dm-shadow tests/recorder; do
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
make -s -C "$KDIR" M="$dir" $KMAKE W=1 KCFLAGS=-Werror "$@" modules >&2 </dev/null
echo "$dir/dm-shadow/dm-shadow.ko"
