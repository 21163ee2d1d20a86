# shellcheck shell=bash
# The cache of kernels, and a private apt to fill it; sourced by the scripts
# beside it.  The system's own apt sources are read, never changed.

# What is fetched and built once lives here, keyed by version; it may be
# deleted at any time.
[ -n "${HOME:-}" ] || HOME=~
: "${DMS_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/dm-shadow}"
mkdir -p "$DMS_CACHE"
DMS_CACHE=$(cd "$DMS_CACHE" && pwd -P)

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# One filler at a time; the lock goes away with the process.
cache_lock()
{
	exec 9>"$DMS_CACHE/lock.$1"
	flock 9
}

# mirror_of SUITE: the URI this system gets SUITE from; nothing if it does not
mirror_of()
{
	apt-get update --print-uris 2>/dev/null |
		sed -n "s,^'\(.*\)/dists/$1/\(In\)\?Release' .*,\1,p" | head -n 1
}

# apt_setup SUITE: fill the array APT with the options of a private apt that
# knows SUITE (and the security suite of a release), and fetch its lists.
apt_setup()
{
	local suite=$1 dir=$DMS_CACHE/apt/$1 uri sec
	local key=/usr/share/keyrings/debian-archive-keyring.gpg

	[ -f $key ] || die "no $key"
	# shellcheck disable=SC1091
	uri=$(mirror_of "$(. /etc/os-release && echo "$VERSION_CODENAME")")
	[ -n "$uri" ] || die "apt knows no mirror of this Debian release"
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	echo "deb [signed-by=$key] $uri $suite main" >"$dir/sources.list"
	sec=$(mirror_of "$suite-security")
	[ -z "$sec" ] ||
		echo "deb [signed-by=$key] $sec $suite-security main" >>"$dir/sources.list"
	: >"$dir/status"
	APT=(-q -o Dir::Etc::sourcelist="$dir/sources.list"
		-o Dir::Etc::sourceparts=/dev/null
		-o Dir::Etc::preferences=/dev/null
		-o Dir::Etc::preferencesparts=/dev/null
		-o Dir::State::lists="$dir/lists" -o Dir::State::status="$dir/status"
		-o Dir::Cache="$dir/cache" -o APT::Sandbox::User=root
		-o Acquire::Retries=3 -o Acquire::Languages=none)
	apt-get "${APT[@]}" update >&2 </dev/null
}

# pkg_field PACKAGE FIELD: a field of the newest version of PACKAGE
pkg_field()
{
	apt-cache "${APT[@]}" show --no-all-versions "$1" 2>/dev/null |
		sed -n "s/^$2: //p" | head -n 1
}

# pkg_deps PACKAGE REGEX: those packages PACKAGE depends on that match REGEX
pkg_deps()
{
	pkg_field "$1" Depends | tr ',|' '\n' | awk '{ print $1 }' |
		{ grep -E "^($2)" || true; }
}

# fetch_debs DIR PACKAGE...: download the packages into DIR
fetch_debs()
{
	local dir=$1

	shift
	mkdir -p "$dir"
	(cd "$dir" && apt-get "${APT[@]}" download "$@" >&2 </dev/null)
}
