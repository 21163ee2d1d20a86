#!/bin/bash
# systemd finds nothing wrong with the units.
set -euo pipefail
cd "$(dirname "$0")/../.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cp "$(type -P true)" "$tmp/shadowctl"
for unit in userspace/systemd/*.service; do
	sed "s,@SBINDIR@,$tmp,g" "$unit" >"$tmp/${unit##*/}"
done
# It tells, but does not fail: silence is what counts.
systemd-analyze verify --man=no "$tmp"/*.service >"$tmp/out" 2>&1 || true
if grep -F "$tmp" "$tmp/out" || grep -F shadowctl "$tmp/out"; then
	exit 1
fi
