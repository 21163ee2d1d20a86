#!/bin/bash
# The kernel's own style check has nothing to say about the module.
set -euo pipefail
cd "$(dirname "$0")/../.."
# It comes with the kernel's source, not with its headers.
source=$(tests/vm/uml.sh --source)
mapfile -t files < <(git ls-files 'dm-shadow/*.[ch]' 'userspace/*.[ch]')
[ ${#files[@]} -gt 0 ] || { echo "SKIP: no sources"; exit 4; }

# Of a module of one's own outside the tree: compat.h is where kernel versions
# are told apart, and there is no MAINTAINERS.
"$source/scripts/checkpatch.pl" --no-tree --strict --terse --quiet --show-types \
	--ignore FILE_PATH_CHANGES,LINUX_VERSION_CODE -f "${files[@]}"
