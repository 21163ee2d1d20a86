#!/bin/bash
# Check the models in this folder with spin, each state and each crash:
#
#	tests/model/run.sh [PATTERN]
#
# What must hold is checked exhaustively, with numbers small enough for a minute;
# LONG=y takes larger ones.  Then each mistake that a model can make (-DWRONG_...)
# must be found.  PATTERN chooses among the lines printed.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
for tool in spin gcc; do
	command -v $tool >/dev/null || { echo "SKIP: no $tool"; exit 4; }
done

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
bad=0

# search OPTIMIZE MODEL FLAG...: what pan says is in out
search()
{
	local optimize=$1 model=$2

	shift 2
	rm -f ./*.trail
	spin -a "$@" "$here/$model.pml" >out 2>&1 || { cat out; exit 1; }
	# Exhaustive: each state is stored whole.  A state in which nothing can
	# go on is none of the errors looked for: supplies are limited.
	gcc "$optimize" -w -DSAFETY -DNOREDUCE -DMEMLIM=2000 -o pan pan.c
	./pan -E -n -m100000 >out 2>&1 || true
}

# skipped NAME
skipped()
{
	[[ $1 != *"${pattern}"* ]]
}
pattern=${1:-}

# holds MODEL FLAG...: no state is wrong
holds()
{
	local states

	skipped "$*" && return
	search -O2 "$@"
	states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' out)
	if grep -q 'errors: 0$' out &&
	   ! grep -qiE 'not completed|max search depth too|out of memory' out; then
		echo "$*: holds in $states states"
	else
		echo "$*: FAILS, or was not searched to the end"
		cat out
		[ ! -e "$1.pml.trail" ] || cp "$1.pml.trail" "$here/"
		bad=1
	fi
}

# finds MISTAKE MODEL FLAG...: it is found
finds()
{
	local mistake=$1

	shift
	skipped "$* $mistake" && return
	search -O0 "$@" "-DWRONG_$mistake"
	if grep -q 'assertion violated' out; then
		echo "$* $mistake: found"
	else
		echo "$* $mistake: NOT FOUND"
		tail -n 30 out
		bad=1
	fi
}

# A cache that is flushed, FUA, and reads of copies meanwhile
crash=(saver -DWRITES=2 -DSUPERS=2)
reader=(saver -DREADER -DWRITES=2 -DSUPERS=2 -DSPACE=2)
holds "${crash[@]}"
holds "${crash[@]}" -DFUA
holds "${crash[@]}" -DFUA -DTWO
holds "${reader[@]}"
holds merge
holds merge -DFAILING
if [ -n "${LONG:-}" ]; then
	holds merge -DFAILING -DCRASHES=3
	holds saver -DWRITES=3 -DSUPERS=1
	holds saver -DWRITES=3 -DSUPERS=1 -DFUA
	holds saver -DWRITES=3 -DSUPERS=1 -DFUA -DTWO
	holds saver -DREADER -DWRITES=3 -DSUPERS=1 -DSPACE=2
fi
for mistake in NO_ORIGIN_FLUSH RELEASE_EARLY STALE NO_CHECKSUM STABLE FLUSH_EARLY EXACT \
	DELETE_FIRST ROTATE TAIL_EARLY NO_PREFLUSH FREE_EARLY; do
	finds $mistake "${crash[@]}"
done
for mistake in STABLE_SECOND ORDER; do
	finds $mistake "${crash[@]}" -DFUA -DTWO
done
for mistake in PUBLISH_EARLY NO_DRAIN TRACK_LATE NO_SYNC; do
	finds $mistake "${reader[@]}"
done
for mistake in NO_SAVE NO_SETTLE NO_FLUSH HOME_FIRST; do
	finds $mistake merge
done
for mistake in NO_MARK UNRECORDED; do
	finds $mistake merge -DFAILING
done
exit $bad
