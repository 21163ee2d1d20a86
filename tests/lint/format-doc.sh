#!/bin/bash
# Documentation/format.rst has the offsets, sizes and values of format.h: every
# field of every structure, every value of the enumerations, nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."
doc=Documentation/format.rst header=dm-shadow/format.h

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# What the document says: STRUCT SIZE, STRUCT OFFSET SIZE FIELD, NAME VALUE
awk '
	match($0, /^``struct dms_disk_[a-z_]+``, [0-9]+ bytes$/) {
		gsub(/``|,/, "")
		name = $2
		print name, $3
	}
	/^[0-9]+ +[0-9]+ +``[a-z0-9_]+``/ { gsub(/``/, ""); print name, $1, $2, $3 }
	/^[0-9a-fx]+ +``DMS_[A-Z_]+``/ { gsub(/``/, ""); print $2, $1 }
' $doc | sort -u >"$tmp/doc"

# What the compiler says of all that the header names, and of the constants that
# the document does
{
	printf '#include <stdio.h>\n#include <stddef.h>\n#include <linux/types.h>\n#include "%s"\n' \
		"$PWD/$header"
	echo 'int main(void) {'
	awk '
		/^struct dms_disk_[a-z_]+ \{/ {
			name = $2
			printf "printf(\"%s %%zu\\n\", sizeof(struct %s));\n", name, name
		}
		/^};/ { name = "" }
		name != "" && match($0, /[a-z0-9_]+(\[[^\]]*\])?;/) {
			field = substr($0, RSTART, RLENGTH)
			sub(/[[;].*/, "", field)
			printf "printf(\"%s %%zu %%zu %s\\n\", offsetof(struct %s, %s),", \
				name, field, name, field
			printf " sizeof(((struct %s *)0)->%s));\n", name, field
		}
		/^enum / { inside = 1 }
		/^}/ { inside = 0 }
		inside && /^\tDMS_/ { print "CONST(" $1 ");" }
	' $header
	# shellcheck disable=SC2016 # the quotes are the document's
	sed -n 's/^\([0-9a-fx]*\) \+``\(DMS_[A-Z_]*\)``.*/CONST(\2);/p' $doc
	echo '}'
} | sed 's/^CONST(\(.*\));/printf("\1 %llu\\n", (unsigned long long)\1);/' >"$tmp/all.c"
${CC:-cc} -o "$tmp/all" "$tmp/all.c"
"$tmp/all" | sort -u >"$tmp/header"

# Hexadecimal in the document is meant to be read by people.
while read -r name value rest; do
	[[ $value != 0x* ]] || value=$((value))
	echo "$name $value${rest:+ $rest}"
done <"$tmp/doc" | sort -u >"$tmp/doc.plain"
[ "$(wc -l <"$tmp/header")" -gt 100 ] || { echo "hardly anything found in $header"; exit 1; }
diff -u --label "$doc" --label "$header" "$tmp/doc.plain" "$tmp/header"
