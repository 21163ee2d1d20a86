/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Merge: the origin becomes what copy 1 shows, while writes, crashes and a failing
 * diff area come in between.  merge.c has the numbered steps.
 *
 * The origin is as in saver.pml.  That a group is durable as a whole or, after a
 * crash, up to one of its records, is taken from there: the area is what its records
 * say, and the group under way.
 *
 * Numbers for content of origin chunks: 0 what copy 1 shows in both; 1 what chunk 0
 * held when the merge began; from 2 on what the user writes.  Copy 2 shows 1 and 0,
 * none of which is saved; for copy 1 the 0 of chunk 0 is, with tag 1.
 */
#ifndef WRITES
#define WRITES		3	/* by the user */
#endif
#ifndef CRASHES
#define CRASHES		1	/* after which things go on; one more ends it all */
#endif
#define CHUNKS		2
#define ALL		3	/* chunks, as a set */
#define M		3	/* the merge's epoch */

#define BIT(n)		(1 << (n))

byte cur[CHUNKS] = { 1, 0 };	/* of the origin, see saver.pml */
byte may[CHUNKS] = { 2, 1 };

/* What is durable in the area */
byte disk_cursor, disk_home;
byte disk_tag[CHUNKS], disk_data[CHUNKS];	/* what was saved during the merge */
bool disk_over;				/* the record that the merge is over */
bool lost, merged;			/* marks in the superblock */

/* The group under way: an op, then saves.  What is in it may be durable. */
bool group;
byte group_op, group_arg;
#define HOME	1
#define CURSOR	2
#define OVER	3

/* Memory */
byte cursor, home, saved;
bool merging = true, needy = true, readonly;
#define READING	1
#define READ	2
#define TAKEN	3
byte save_state[CHUNKS], save_data[CHUNKS], save_tag[CHUNKS];
byte op, op_arg;			/* waits for a group */

/* The merge's work item: where it is, with which chunks, to be recorded as what */
#define IDLE	0
#define SAVING	1
#define WRITING	2
#define WRITTEN	3
#define FLUSHED	4
#define RECORD	5
byte at, chunks, record, record_arg;
byte bring;				/* of the chunks those that are written */
byte on_way;				/* writes under way */

/* The user */
byte writes = 1;			/* the last number */
byte write_of[5];			/* chunk + 1 of what has not ended */
byte detained;
byte done[CHUNKS], kept[CHUNKS];	/* what has ended last; that and was flushed */

byte crashes;
hidden byte i, n, has[CHUNKS], got_cursor, got_home, got_tag[CHUNKS], got_data[CHUNKS];
hidden byte got_over, value, choice, choice_left, choices, length, count;

#define IS_HOME(c)	(c < cursor || (home & BIT(c)))	/* dms_merge_home() */

/* find_run(), dms_lookup() for copy 1 with tags below M */
#define FOUND(c)	(!IS_HOME(c) && (c == 0 || (disk_tag[1] && disk_tag[1] < M)))
#define FOUND_DATA(c)	(c == 0 -> 0 : disk_data[1])

inline write_origin(c, what)
{
	may[c] = may[c] | BIT(what)
}

/* map_write(), release() */
#define PASSES(c)	((!needy || (saved & BIT(c))) && (!merging || IS_HOME(c)))

inline submit(c)
{
	d_step {
		/* Two at a time to one chunk have no order of their own. */
		writes <= WRITES && write_of[writes] != c + 1 && (writes < 3 || write_of[2] != c + 1) &&
			(writes < 4 || write_of[3] != c + 1);
		writes++;
		write_of[writes] = c + 1;
		if
		:: PASSES(c) -> write_origin(c, writes)
		:: else -> detained = detained | BIT(writes)
		fi
	}
}

inline release(w)
{
	d_step {
		(detained & BIT(w)) && PASSES(write_of[w] - 1);
		detained = detained & ~BIT(w);
		write_origin(write_of[w] - 1, w)
	}
}

inline end_write(w)
{
	d_step {
		write_of[w] && !(detained & BIT(w));
		cur[write_of[w] - 1] = w;
		done[write_of[w] - 1] = w;
		write_of[w] = 0
	}
}

#define SENT(w, c)	(write_of[w] == c + 1 && !(detained & BIT(w)))

inline flush_origin()
{
	for (i : 0 .. CHUNKS - 1) {
		/* What is under way may be there, too. */
		may[i] = BIT(cur[i]) | (SENT(2, i) -> BIT(2) : 0) | (SENT(3, i) -> BIT(3) : 0) |
			 (SENT(4, i) -> BIT(4) : 0) | (on_way & BIT(i) -> may[i] : 0)
	}
}

active proctype user()
{
	do
	:: submit(0)
	:: submit(1)
	:: release(2)
	:: release(3)
	:: release(4)
	:: end_write(2)
	:: end_write(3)
	:: end_write(4)
	:: d_step {
		kept[0] != done[0] || kept[1] != done[1];
		flush_origin();
		kept[0] = done[0];
		kept[1] = done[1]
	   }
	od
}

/* --- the saver, see saver.pml --- */

#define WAITED_FOR(c)	((detained & BIT(2) && write_of[2] == c + 1) || \
			 (detained & BIT(3) && write_of[3] == c + 1) || \
			 (detained & BIT(4) && write_of[4] == c + 1) || \
			 (at == SAVING && (bring & BIT(c))))

/* need(): copy 2 is the newest; merge_tag() */
#define TAG(c)		(c == 0 || !merging -> 2 : M)

inline collect(c)
{
	d_step {
		needy && !readonly && !(saved & BIT(c)) && !save_state[c] && WAITED_FOR(c);
		if
		:: disk_tag[c] -> saved = saved | BIT(c)	/* exceptions tell, after a restart */
		:: else ->
			save_state[c] = READING;
			save_tag[c] = TAG(c)
		fi
	}
}

inline end_read(c)
{
	d_step {
		save_state[c] == READING;
		save_state[c] = READ;
		save_data[c] = cur[c]
	}
}

inline forget_save(c)
{
	save_state[c] = 0;
	save_data[c] = 0;
	save_tag[c] = 0
}

inline group_start()
{
	d_step {
		!group && !readonly && (op || save_state[0] == READ || save_state[1] == READ);
		for (i : 0 .. CHUNKS - 1) {
			save_state[i] = (save_state[i] == READ -> TAKEN : save_state[i])
		}
		group = true;
		group_op = op;
		group_arg = op_arg;
		op = 0;
		op_arg = 0
#ifdef WRONG_HOME_FIRST
		;
		home = (group_op == HOME -> home | BIT(group_arg) : home)
#endif
	}
}

/* Of the group the first @number things, in order, become durable; are found after a crash */
inline put(number)
{
	length = number;
	if
	:: group && length && group_op ->
		disk_home = (group_op == HOME -> disk_home | BIT(group_arg) : disk_home);
		disk_cursor = (group_op == CURSOR -> group_arg : disk_cursor);
		disk_over = (group_op == OVER -> 1 : disk_over);
		length--
	:: else
	fi;
	for (n : 0 .. CHUNKS - 1) {
		if
		:: group && length && save_state[n] == TAKEN ->
			disk_tag[n] = save_tag[n];
			disk_data[n] = save_data[n];
			length--
		:: else
		fi
	}
}

inline find(number)
{
	length = number;
	if
	:: group && length && group_op ->
		got_home = (group_op == HOME -> got_home | BIT(group_arg) : got_home);
		got_cursor = (group_op == CURSOR -> group_arg : got_cursor);
		got_over = (group_op == OVER -> 1 : got_over);
		length--
	:: else
	fi;
	for (n : 0 .. CHUNKS - 1) {
		if
		:: group && length && save_state[n] == TAKEN ->
			got_tag[n] = save_tag[n];
			got_data[n] = save_data[n];
			length--
		:: else
		fi
	}
}

/* group_publish(), apply_home(), apply_cursor() */
inline group_finish()
{
	d_step {
		group;
		put(3);
		for (i : 0 .. CHUNKS - 1) {
			if
			:: save_state[i] == TAKEN ->
				saved = saved | BIT(i);
				forget_save(i)
			:: else
			fi
		}
		home = disk_home;
		cursor = disk_cursor;
		merging = !disk_over && merging;
		at = (group_op -> IDLE : at);
		group_op = 0;
		group_arg = 0;
		group = false
	}
}

/*
 * The area takes no more writes.  Of the group under way some may have got there.
 * group_failed(), dms_volume_fail(), give_up()
 */
inline fail(number)
{
	d_step {
		!readonly && group;
		put(number);
		readonly = true;
		group = false;
		group_op = 0;
		group_arg = 0;
		op = 0;
		op_arg = 0;
		forget_save(0);
		forget_save(1);
		/* The merge gets -EROFS, dms_merge_abandon() waits for what is under way. */
		at = (at == RECORD || at == SAVING -> IDLE : at)
	}
}

/* A checkpoint fails, dms_volume_fail(): a group under way may still end well. */
inline fail_elsewhere()
{
	d_step {
		!readonly;
		readonly = true;
		for (i : 0 .. CHUNKS - 1) {
			if
			:: save_state[i] != TAKEN -> forget_save(i)
			:: else
			fi
		}
		at = ((at == RECORD && op) || at == SAVING -> IDLE : at);
		op = 0;
		op_arg = 0
	}
}

active proctype saver()
{
	do
	:: collect(0)
	:: collect(1)
	:: end_read(0)
	:: end_read(1)
	:: group_start()
	:: group_finish()
#ifdef FAILING
	:: fail(0)
	:: fail(1)
	:: fail(2)
	:: fail(3)
	:: fail_elsewhere()
	/* dms_mark_lost(), background() */
	:: d_step { readonly && !lost -> lost = true }
#ifdef WRONG_NO_MARK
	:: d_step { readonly && needy -> needy = false }
#else
	:: d_step { readonly && lost && needy -> needy = false }
#endif
#endif
	od
}

/* --- the merge --- */

inline begin(these, how, arg)
{
	chunks = these;
	record = how;
	record_arg = arg;
	bring = ((chunks & 1) && FOUND(0) -> 1 : 0) | ((chunks & 2) && FOUND(1) -> 2 : 0);
	at = SAVING
}

active proctype merge()
{
	do
	/* serve_wanted(), for what a write waits for */
	:: d_step { merging && at == IDLE && !readonly && !IS_HOME(0) && WAITED_FOR(0);
		    begin(1, HOME, 0) }
	:: d_step { merging && at == IDLE && !readonly && !IS_HOME(1) && WAITED_FOR(1);
		    begin(2, HOME, 1) }
	/* bring_window() as far as time permits */
	:: d_step { merging && at == IDLE && !readonly && cursor == 0; begin(1, CURSOR, 1) }
	:: d_step { merging && at == IDLE && !readonly; begin(ALL & ~(BIT(cursor) - 1), OVER, 2) }
	/* finish_unrecorded() */
	:: d_step { merging && at == IDLE && readonly && !needy;
		    begin(ALL & ~(BIT(cursor) - 1), 0, 0) }
	/* save_batch() */
	:: d_step {
#ifdef WRONG_NO_SAVE
		at == SAVING;
#else
		at == SAVING && (!needy || !(bring & ~saved));
#endif
		if
		:: bring & 1 -> write_origin(0, FOUND_DATA(0))
		:: else
		fi;
		if
		:: bring & 2 -> write_origin(1, FOUND_DATA(1))
		:: else
		fi;
		on_way = bring;
		at = WRITING
	   }
	/* dms_merge_settle() */
#ifdef WRONG_NO_SETTLE
	:: d_step { at == WRITING -> at = WRITTEN }
#else
	:: d_step { at == WRITING && !on_way -> at = WRITTEN }
#endif
	:: d_step { on_way & 1 -> cur[0] = FOUND_DATA(0); on_way = on_way & ~1 }
	:: d_step { on_way & 2 -> cur[1] = FOUND_DATA(1); on_way = on_way & ~2 }
	/* dms_io_flush(), dms_merge_record_home(), dms_merge_record_cursor() */
	:: d_step {
		at == WRITTEN;
#ifndef WRONG_NO_FLUSH
		flush_origin();
#endif
		chunks = 0;
		bring = 0;
		if
		:: readonly && !record -> at = FLUSHED
		:: readonly && record -> at = IDLE
		:: else ->
			op = record;
			op_arg = record_arg;
			at = RECORD
		fi;
		record = 0;
		record_arg = 0
#ifdef WRONG_UNRECORDED
		;
		home = (at == FLUSHED -> ALL : home);
		merging = (at == FLUSHED -> false : merging)
#endif
	   }
	/* finish_unrecorded(): the mark */
	:: d_step { at == FLUSHED -> merged = true; merging = false; at = IDLE }
	od
}

/* --- a crash, activation, and what must be --- */

#define NUMBER(set)	(((set) & 1) + (((set) >> 1) & 1) + (((set) >> 2) & 1) + \
			 (((set) >> 3) & 1) + (((set) >> 4) & 1))

inline has_origin(c)
{
	count = NUMBER(may[c]);
	choices = choices * count;
	length = choice_left % count;
	choice_left = choice_left / count;
	for (n : 0 .. 4) {
		if
		:: may[c] & BIT(n) ->
			has[c] = (length == 0 -> n : has[c]);
			length--
		:: else
		fi
	}
}

/* What a power cut may leave, and what replay makes of it */
inline crash_leaves()
{
	choices = 4;
	choice_left = choice / 4;
	has_origin(0);
	has_origin(1);
	got_cursor = disk_cursor;
	got_home = disk_home;
	got_over = disk_over || merged;
	for (i : 0 .. CHUNKS - 1) {
		got_tag[i] = disk_tag[i];
		got_data[i] = disk_data[i]
	}
	find(choice % 4)
}

/* What a read of chunk @c of the origin gives then: locate() */
inline read_origin(c)
{
	value = has[c];
	if
	:: !got_over && c >= got_cursor && !(got_home & BIT(c)) ->
		if
		:: c == 0 -> value = 0
		:: c == 1 && got_tag[1] && got_tag[1] < M -> value = got_data[1]
		:: else
		fi
	:: else
	fi
}

inline check(c)
{
	read_origin(c);
	/* The last that was flushed, or a later write. */
	assert(value == kept[c] || (value > kept[c] && value >= 2 && (value == done[c] ||
	       write_of[value] == c + 1 || value < done[c])));
	/* Copies 1 and 2, if they can be read */
	assert(lost || c == 0 || (got_tag[1] -> got_data[1] : has[1]) == 0);
	assert(lost || c == 1 || (got_tag[0] -> got_data[0] : has[0]) == 1)
}

/* The same without a crash */
inline check_now(c)
{
	has[c] = cur[c];
	got_cursor = cursor;
	got_home = home;
	got_over = !merging;
	got_tag[c] = disk_tag[c];
	got_data[c] = disk_data[c];
	read_origin(c);
	assert(value == done[c])
}

inline check_all()
{
	check_now(0);
	check_now(1);
	choice = 0;
	do
	:: true ->
		crash_leaves();
		check(0);
		check(1);
		choice++;
		if
		:: choice == choices -> break
		:: else
		fi
	od;
	choice = 0
}

/* One of the crashes, and things go on. */
inline restart()
{
	crash_leaves();
	for (i : 0 .. CHUNKS - 1) {
		cur[i] = has[i];
		may[i] = BIT(has[i]);
		disk_tag[i] = got_tag[i];
		disk_data[i] = got_data[i];
		forget_save(i);
		/* What the user finds is what he goes on with. */
		read_origin(i);
		done[i] = value;
		kept[i] = value
	}
	disk_cursor = got_cursor;
	disk_home = got_home;
	disk_over = got_over;
	cursor = got_cursor;
	home = got_home;
	merging = !got_over;
	merged = false;
	/* open_persistent(): lost copies are invalid from now on */
	needy = !lost;
	readonly = false;
	group = false;
	group_op = 0;
	group_arg = 0;
	op = 0;
	op_arg = 0;
	at = IDLE;
	chunks = 0;
	bring = 0;
	on_way = 0;
	record = 0;
	record_arg = 0;
	saved = 0;
	detained = 0;
	write_of[2] = 0;
	write_of[3] = 0;
	write_of[4] = 0
}

byte pick;
#define LEFT		(4 * NUMBER(may[0]) * NUMBER(may[1]))

active proctype crash()
{
	do
	:: d_step { check_all() }
	:: atomic {
		crashes < CRASHES;
		do
		:: pick < LEFT - 1 -> pick++
		:: break
		od;
		skip;
		d_step {
			choice = pick;	/* some are the same */
			pick = 0;
			restart();
			crashes++
		}
	   }
	od
}
