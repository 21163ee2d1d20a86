# Curves from the tables of report.awk, as SVG: speed against the number of copies.
#
#	awk -f plot.awk -v disk=ssd -v what='random 4K first touch, depth 16' build/bench/table
#
# Only rows "WHAT, N=..." of the disk's first table; dm-linear, being 1, is the upper edge.

function x(n)
{
	return 60 + (columns > 1 ? (at[n] - 1) * 420 / (columns - 1) : 0)
}

function y(ratio)
{
	return 250 - 200 * (ratio > 1.1 ? 1.1 : ratio)
}

BEGIN { split("#c33 #e90 #888 #06a #3a3 #939", colour, " ") }

/^## / { here = $0 == "## " disk ": speed, dm-linear being 1" }

here && $1 == "workload" {
	targets = NF - 1
	for (i = 1; i <= targets; i++)
		name[i] = $(i + 1)
}

here && index($0, what ", N=") == 1 {
	split($0, half, ", N=")
	fields = split(substr($0, length(what) + 5), value, " ")
	n = value[1]
	at[n] = ++columns
	number[columns] = n
	# A range in brackets belongs to the figure before it.
	t = 0
	for (i = 2; i <= fields; i++)
		if (value[i] !~ /^\(/)
			speed[++t, n] = value[i]
}

END {
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"300\"" \
		" font-family=\"sans-serif\" font-size=\"12\">"
	print "<rect width=\"640\" height=\"300\" fill=\"white\"/>"
	printf "<text x=\"60\" y=\"20\">%s, %s: speed, dm-linear being 1</text>\n", disk, what
	for (r = 0; r <= 1; r += 0.25) {
		printf "<line x1=\"60\" x2=\"480\" y1=\"%d\" y2=\"%d\" stroke=\"#ddd\"/>\n", y(r), y(r)
		printf "<text x=\"52\" y=\"%d\" text-anchor=\"end\">%.2f</text>\n", y(r) + 4, r
	}
	for (c = 1; c <= columns; c++)
		printf "<text x=\"%d\" y=\"268\" text-anchor=\"middle\">%d</text>\n", \
			x(number[c]), number[c]
	print "<text x=\"270\" y=\"288\" text-anchor=\"middle\">shadow copies</text>"
	for (i = 2; i <= targets; i++) {
		line = ""
		for (c = 1; c <= columns; c++) {
			v = speed[i, number[c]]
			if (v == "" || v == "-") continue
			line = line " " x(number[c]) "," y(v)
			printf "<circle cx=\"%d\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", \
				x(number[c]), y(v), colour[i - 1]
		}
		if (line == "") continue
		printf "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", \
			substr(line, 2), colour[i - 1]
		legend++
		printf "<text x=\"500\" y=\"%d\" fill=\"%s\">%s</text>\n", 40 + 18 * legend, \
			colour[i - 1], name[i]
	}
	print "</svg>"
}
