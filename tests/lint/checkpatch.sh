#!/bin/bash
# The kernel's own style check has nothing to say about the module.
set -euo pipefail
cd "$(dirname "$0")/../.."
# It comes with the kernel's source, not with its headers.
source=$(tests/vm/debug-kernel.sh --source)
mapfile -t module < <(git ls-files 'dm-shadow/*.[ch]' 'tests/targets/*.[ch]')
mapfile -t programs < <(git ls-files 'userspace/*.[ch]' 'tests/src/*.[ch]' 'tests/unit/*.[ch]')
[ $((${#module[@]} + ${#programs[@]})) -gt 0 ] || { echo "SKIP: no sources"; exit 4; }

# It leaves a list of names in the folder it is run in.
trap 'rm -f .checkpatch-camelcase.*' EXIT

# style IGNORED OPTION... FILE...
style()
{
	local ignored=$1

	shift
	"$source/scripts/checkpatch.pl" --no-tree --terse --quiet --show-types \
		--ignore "$ignored" "$@" | { grep -v '^total: ' || true; } || bad=1
}

bad=0
# A module outside the tree has no MAINTAINERS, and tells versions in compat.h.
# Version tests are compat.h's business; _Static_assert is no CamelCase.
ignored=FILE_PATH_CHANGES,LINUX_VERSION_CODE,CONSTANT_COMPARISON,CAMELCASE
[ ${#module[@]} -eq 0 ] || style $ignored --strict -f "${module[@]}"
# Programs have the C library's types, attributes and functions, and not the
# kernel's macros; NTFS has its $Names.
ignored+=,PREFER_KERNEL_TYPES,PREFER_DEFINED_ATTRIBUTE_MACRO,PREFER_FALLTHROUGH
ignored+=,SPLIT_STRING,QUOTED_WHITESPACE_BEFORE_NEWLINE,STATIC_CONST_CHAR_ARRAY,LINE_SPACING
ignored+=,ASSIGN_IN_IF,EMBEDDED_FUNCTION_NAME,ARRAY_SIZE,MINMAX,STRCPY,STRNCPY,STRLCPY,CVS_KEYWORD
[ ${#programs[@]} -eq 0 ] || style $ignored -f "${programs[@]}"
exit $bad
