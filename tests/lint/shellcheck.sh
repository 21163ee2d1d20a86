#!/bin/bash
# Every shell script in the tree passes shellcheck.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v shellcheck >/dev/null || { echo "SKIP: no shellcheck"; exit 4; }

# By name, or by what the first line says
mapfile -t scripts < <(
	git ls-files '*.sh'
	git ls-files | grep -v '\.' | while read -r f; do
		[ -f "$f" ] || continue
		! head -n 1 "$f" | grep -qaE '^#!.*\b(ba|da)?sh\b' || echo "$f"
	done
)
[ -f .ci/run ] && scripts+=(.ci/run)
shellcheck "${scripts[@]}"		# and .shellcheckrc
