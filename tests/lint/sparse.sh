#!/bin/bash
# sparse (endianness, locks, statics) and W=1 find nothing in the module.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v sparse >/dev/null || { echo "SKIP: no sparse"; exit 4; }
[ -f dm-shadow/Kbuild ] || { echo "SKIP: no sources"; exit 4; }

# C=2 reads the sources also when their objects are up to date.  What sparse
# finds is only printed; a finding in the kernel's headers is not ours.
out=$(tests/vm/build-module.sh 6.1 C=2 CF='-D__CHECK_ENDIAN__' 2>&1) || {
	echo "$out"
	exit 1
}
! grep -E '/(dm-shadow|recorder)/[^/]*\.[ch]:[0-9]+:[0-9]+: (warning|error)' <<<"$out"
