#!/bin/bash
# cppcheck finds nothing in the programs that run on the host.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v cppcheck >/dev/null || { echo "SKIP: no cppcheck"; exit 4; }

mapfile -t files < <(git ls-files 'userspace/*.c' 'tests/src/*.c')
[ ${#files[@]} -gt 0 ] || { echo "SKIP: no sources"; exit 4; }
cppcheck -q -j "$(nproc)" --std=c11 -D__linux__ -Iuserspace -Idm-shadow \
	--enable=warning,portability --inline-suppr --error-exitcode=1 \
	--suppress=missingIncludeSystem "${files[@]}"
