# shellcheck shell=bash
# The few lines of KTAP (the kernel's Test Anything Protocol, see
# Documentation/dev-tools/ktap.rst in its source); sourced.

ktap_header()
{
	echo "KTAP version 1"
}

# ktap_plan N: N results follow
ktap_plan()
{
	echo "1..$1"
	ktap_n=0
}

# ktap_result pass|fail|skip NAME [REASON]
ktap_result()
{
	ktap_n=$((ktap_n + 1))
	case $1 in
	pass) echo "ok $ktap_n $2" ;;
	skip) echo "ok $ktap_n $2 # SKIP ${3:-}" ;;
	*) echo "not ok $ktap_n $2${3:+ # $3}" ;;
	esac
}

# ktap_diag: each line of standard input as a comment
ktap_diag()
{
	sed 's/^/# /'
}
