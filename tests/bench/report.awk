# Tables from the guest's results; see init for their form.
#
# The time of a workload is that from its first request's arrival at the disks
# to its last one's end there.

function min(a, b) { return a < b ? a : b }
function max(a, b) { return a > b ? a : b }

# median of the values in list; sets LOW and HIGH
function median(list,    v, n, i, j, t)
{
	n = split(list, v, " ")
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && v[j] + 0 < v[j - 1] + 0; j--) {
			t = v[j]; v[j] = v[j - 1]; v[j - 1] = t
		}
	LOW = v[1]
	HIGH = v[n]
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function number(x)
{
	if (x == 0) return "0"
	if (x >= 99.5) return sprintf("%.0f", x)
	if (x >= 9.95) return sprintf("%.1f", x)
	if (x >= 0.0995) return sprintf("%.2f", x)
	return sprintf("%.3f", x)
}

# median of list, and the range where it is more than 1 %
function figure(list,    m)
{
	if (list == "") return "-"
	m = median(list)
	return number(m) (HIGH - LOW > m / 100 ? " (" number(LOW) "-" number(HIGH) ")" : "")
}

function row(name, n, text, as, unit)
{
	rows++
	row_name[rows] = name
	row_n[rows] = n
	row_text[rows] = text
	row_as[rows] = as
	row_unit[rows] = unit
}

BEGIN {
	nr_n = split("0 1 2 4 8 16 32 64 128 256 512", ns, " ")
	row("write", 0, "random 4K write, depth 16, no copy", "write")
	row("write1", 0, "random 4K write, depth 1, no copy", "write1")
	row("sync1", 0, "depth 1, fdatasync each, no copy", "sync1")
	row("seqwrite", 0, "sequential 1M write, no copy", "seqwrite")
	for (i = 2; i <= nr_n; i++)
		row("first", ns[i], "random 4K first touch, depth 16", "write")
	for (i = 2; i <= nr_n; i++)
		row("first1", ns[i], "random 4K first touch, depth 1", "write1")
	row("firstsync1", 1, "first touch, depth 1, fdatasync each", "sync1")
	row("firstseq", 1, "sequential 1M first touch", "seqwrite")
	for (i = 2; i <= nr_n; i++)
		row("saved", ns[i], "overwrite of saved chunks, depth 16", "write")
	for (i = 2; i <= nr_n; i++)
		row("saved1", ns[i], "overwrite of saved chunks, depth 1", "write1")
	row("read", 1, "origin read, random 4K", "read")
	row("seqread", 1, "origin read, sequential 1M", "seqread")
	for (i = 2; i <= nr_n; i++)
		row("copyread", ns[i], "oldest copy read, random 4K", "read")
	for (i = 2; i <= nr_n; i++)
		row("copyseqread", ns[i], "oldest copy read, sequential 1M", "seqread")
	row("merge", 1, "merge, scattered 16K", "seqwrite", 64)
	row("mergeseq", 1, "merge, in one piece", "seqwrite", 64)
}

# Of a simulated year: A DISK TARGET WORKLOAD HOUR NUMBER WHAT...
$1 == "A" {
	age = $2 ": " $4 ", " $3
	if (!(age in age_whats)) age_list[++ages] = age
	what = $7
	for (i = 8; i <= NF; i++) what = what " " $i
	if (!((age, what) in age_seen)) {
		age_seen[age, what]
		age_what[age, ++age_whats[age]] = what
	}
	if (!((age, $5) in age_seen_hour)) {
		age_seen_hour[age, $5]
		age_hour[age, ++age_hours[age]] = $5
	}
	age_number[age, what, $5] = $6
}

$1 != "R" { next }

$7 == "missing" || NF < 19 { print "no result: " $0; next }

{
	if (!($2 in seen_disk)) { seen_disk[$2]; disk[++disks] = $2 }
	if (!($3 in seen_target)) { seen_target[$3]; target[++targets] = $3 }
	key = $2 SUBSEP $3 SUBSEP $4 SUBSEP $5
	# Two disks have two lines each; of one, the second is the diff area.
	if (NF >= 32) { d = 20; flushes = $13 + $26 } else { d = 14; flushes = $13 }
	first = $11 && $(d + 4) ? min($11, $(d + 4)) : max($11, $(d + 4))
	last = $5 ~ /^merge/ ? $12 : max($12, $(d + 5))
	ops = $6
	time = (last - first) / ops
	times[key] = times[key] " " time
	for (r = 1; r <= rows; r++)
		if (row_name[r] == $5 && row_n[r] == $4) {
			unit = row_unit[r] ? row_unit[r] : 1
			base = base_time[$2, row_as[r]] / unit
			if (base) {
				k = key SUBSEP "ratio"
				ratio[k] = ratio[k] " " base / time
			}
		}
	if ($3 == "linear") base_time[$2, $5] = time
	counts[key, 1] = counts[key, 1] " " $7 / ops
	counts[key, 2] = counts[key, 2] " " $8 / ops
	counts[key, 3] = counts[key, 3] " " $9 / ops
	counts[key, 4] = counts[key, 4] " " $10 / ops
	counts[key, 5] = counts[key, 5] " " $d / ops
	counts[key, 6] = counts[key, 6] " " $(d + 1) / ops
	counts[key, 7] = counts[key, 7] " " $(d + 2) / ops
	counts[key, 8] = counts[key, 8] " " $(d + 3) / ops
	counts[key, 9] = counts[key, 9] " " flushes / ops
}

function head(text,    t)
{
	printf "%-39s", text
	for (t = 1; t <= targets; t++)
		printf " %11s", target[t]
	print ""
}

# any(D, ROW): whether a target but linear has it
function any(d, r,    t)
{
	for (t = 1; t <= targets; t++)
		if (target[t] != "linear" && times[disk[d], target[t], row_n[r], row_name[r]] != "")
			return 1
	return 0
}

# The name of column @h of a year; "" if there is none
function when(age, h,    done, month)
{
	done = age_hour[age, h] + 1
	month = done / 730
	if (done == 24) return "day 1"
	if (done == 168) return "week 1"
	if (month != int(month)) return "hour " done
	if (month == 1 || month % 3 == 0 || h == age_hours[age]) return "month " month
	return ""
}

function print_age(age,    h, w, value)
{
	print "## " age ": a simulated year, times in us (on ram thousand instructions)\n"
	printf "%-56s", ""
	for (h = 1; h <= age_hours[age]; h++)
		if (when(age, h)) printf " %9s", when(age, h)
	print ""
	for (w = 1; w <= age_whats[age]; w++) {
		printf "%-56s", age_what[age, w]
		for (h = 1; h <= age_hours[age]; h++) {
			if (!when(age, h)) continue
			value = age_number[age, age_what[age, w], age_hour[age, h]]
			printf " %9s", value ~ /[0-9]/ ? number(value) : "-"
		}
		print ""
	}
	print ""
}

END {
	for (i = 1; i <= ages; i++)
		print_age(age_list[i])
	for (d = 1; d <= disks; d++) {
		print "## " disk[d] ": speed, dm-linear being 1\n"
		head("workload")
		for (r = 1; r <= rows; r++) {
			if (!any(d, r)) continue
			printf "%-39s", row_text[r] (row_n[r] > 0 ? ", N=" row_n[r] : "")
			for (t = 1; t <= targets; t++) {
				k = disk[d] SUBSEP target[t] SUBSEP row_n[r] SUBSEP row_name[r] SUBSEP "ratio"
				printf " %11s", target[t] == "linear" ? \
					"1" : figure(ratio[k])
			}
			print ""
		}
		print ""
		print disk[d] == "ram" ? "## ram: thousand instructions an operation\n" : \
			"## " disk[d] ": microseconds of the guest an operation\n"
		head("workload")
		for (r = 1; r <= rows; r++) {
			if (!any(d, r)) continue
			printf "%-39s", row_text[r] (row_n[r] > 0 ? ", N=" row_n[r] : "")
			for (t = 1; t <= targets; t++) {
				name = target[t] == "linear" ? row_as[r] : row_name[r]
				n = target[t] == "linear" ? 0 : row_n[r]
				list = times[disk[d], target[t], n, name]
				if (list == "") { printf " %11s", "-"; continue }
				m = median(list)
				if (target[t] == "linear" && row_unit[r]) m /= row_unit[r]
				printf " %11s", number(m / 1000)
			}
			print ""
		}
		print ""
		print "## " disk[d] ": requests an operation, as the disks saw them\n"
		printf "%-39s %-9s %8s %8s %8s %8s %8s %8s %8s %8s %8s\n", "workload", "target", \
			"o.reads", "KiB", "o.writes", "KiB", "d.reads", "KiB", "d.writes", "KiB", "flushes"
		for (r = 1; r <= rows; r++) {
			if (!any(d, r) || row_name[r] ~ /^(write|seqwrite|read|seqread|copyread)/)
				continue
			for (t = 1; t <= targets; t++) {
				k = disk[d] SUBSEP target[t] SUBSEP row_n[r] SUBSEP row_name[r]
				if (times[k] == "") continue
				printf "%-39s %-9s", row_text[r] (row_n[r] > 0 ? ", N=" row_n[r] : ""), target[t]
				for (c = 1; c <= 9; c++)
					printf " %8s", number(median(counts[k, c]))
				print ""
			}
		}
		print ""
	}
}
