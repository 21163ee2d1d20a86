#!/bin/bash
# Build dm-shadow.ko for one kernel of the tests, warnings being errors.
#
#	tests/vm/build-module.sh 6.1|6.12|7|uml [MAKE-WORD...]
#
# Prints the path of the module.  Builds in build/KERNEL, from copies of the
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
mkdir -p "$dir/dm-shadow"
exec 9>"$dir/lock"
flock 9
# Copies keep their times, so that make builds only what changed.
cp -p "$top/Kbuild" "$dir/"
find "$top/dm-shadow" -maxdepth 1 -type f \( -name '*.[ch]' -o -name Kbuild \) \
	-exec cp -p -t "$dir/dm-shadow" {} +
# A file that went away must not linger.
for f in "$dir"/dm-shadow/*.[ch]; do
	case $f in *.mod.c) continue ;; esac
	[ -e "$top/dm-shadow/${f##*/}" ] || rm -f "$f"
done
# shellcheck disable=SC2086 # words
make -s -C "$KDIR" M="$dir" $KMAKE W=1 KCFLAGS=-Werror "$@" modules >&2 </dev/null
echo "$dir/dm-shadow/dm-shadow.ko"
