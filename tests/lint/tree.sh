#!/bin/bash
# Only compat.h knows kernel versions; no machine's paths, package hosts or
# built files are in the tree.
set -euo pipefail
cd "$(dirname "$0")/../.."

bad=0
none()
{
	if [ -n "$2" ]; then
		printf '%s:\n%s\n' "$1" "$2"
		bad=1
	fi
}
none "kernel version outside of compat.h" "$(git grep -n LINUX_VERSION_CODE -- \
	'dm-shadow/*.[ch]' ':!dm-shadow/compat.h' || true)"
none "path of one machine" "$(git grep -nIE '(^|[^a-z.])/(work|home)/[a-z]' || true)"
none "package host" "$(git grep -nIE 'https?://[a-z0-9.-]+/debian' || true)"
none "built file" "$(git ls-files | grep -E '\.(ko|o|a|so|img|qcow2|deb)$' || true)"
exit $bad
