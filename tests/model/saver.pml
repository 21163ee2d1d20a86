/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The saver, checkpoints and replay: the order of what becomes durable.
 *
 * What is modelled, and what is not, stands in Documentation/design.rst.  Each
 * step names the function it stands for.  tests/model/run.sh checks this with
 * every interleaving and a crash in every state, and that each of the mistakes
 * that -DWRONG_... makes is found.
 *
 * A place on a device holds a number that stands for content.  ..._cur is what a
 * read finds, ..._may a set (a bit for each number): what may be found after a
 * crash.  A write adds to the set when it is issued, becomes what a read finds
 * when it ends, and is alone in the set when a flush ends that began after that;
 * with FUA when it ends.
 *
 * The origin's chunks hold the number of the write (0: none yet); a saved chunk
 * holds DATA(chunk, number), the chunk of a root ROOT(number of the superblock), the
 * journal's slots the number of a record.  The contents of records and
 * roots lie in arrays: a block with part of its content is taken for absent, as
 * its checksum does not fit.
 */
#ifndef WRITES
#define WRITES		3	/* by the user */
#endif
#ifndef COPIES
#define COPIES		2	/* taken, one after the other */
#endif
#ifndef SUPERS
#define SUPERS		2	/* superblocks written */
#endif
#define CHUNKS		2	/* of the origin */
#ifndef SPACE
#define SPACE		4	/* area chunks, for data and roots */
#endif
#ifndef SLOTS
#define SLOTS		4	/* of the journal */
#endif
#define RECORDS		8	/* and one, that there is none */
#define ENTRIES		4	/* CHUNKS * COPIES */

#define BIT(n)		(1 << (n))
#define DATA(c, w)	(1 + (c) * 4 + (w))
#define ROOT(k)		(9 + (k))
#define CONTENTS	13
#define ENTRY(c, tag)	((c) * COPIES + (tag) - 1)

/* --- the devices --- */

byte origin_cur[CHUNKS], origin_may[CHUNKS] = 1;
byte data_cur[SPACE];
short data_may[SPACE] = 1;
byte slot_cur[SLOTS];
short slot_may[SLOTS] = 1;
byte root_at[2];		/* area chunk of the root that a superblock leads to */
byte super, super_next;		/* durable; being written, 0: none */

/* Places of the area as a set: chunks, journal. */
#define AT_DATA(a)	BIT(a)
#define AT_SLOT(j)	BIT(SPACE + (j))
#define EVERYWHERE	(BIT(SPACE + SLOTS) - 1)
short writing;			/* writes under way */
short group_flush, super_flush;	/* what these flushes will make durable */

hidden byte i, j;

/* What a crash leaves is of no interest to a reader. */
#ifdef READER
#define FUA
#define MAY(place, what)	skip
#define ONLY(place, what)	skip
#else
#define MAY(place, what)	place = place | BIT(what)
#define ONLY(place, what)	place = BIT(what)
#endif

inline issue(where)
{
	writing = writing | where;
	group_flush = group_flush & ~(where);
	super_flush = super_flush & ~(where)
}

inline flushed(those)
{
	for (i : 0 .. SPACE - 1) {
		if
		:: those & AT_DATA(i) -> ONLY(data_may[i], data_cur[i])
		:: else
		fi
	}
	for (i : 0 .. SLOTS - 1) {
		if
		:: those & AT_SLOT(i) -> ONLY(slot_may[i], slot_cur[i])
		:: else
		fi
	}
	those = 0
}

/* Records, by number; the last thing made is record_nr. */
#define SAVE	1
#define CREATE	2
#define DELETE	3
typedef record {
	byte type, chunk, tag;		/* CREATE, DELETE: tag is the copy */
	byte where, data;		/* data stands for its checksum */
	byte seq, stable;
};
record rec[RECORDS];
byte record_nr;

/* What the two roots lead to: trees, copies, where replay begins. */
typedef root {
	byte entry[ENTRIES];		/* area chunk + 1; 0: none */
	byte copies, from;
};
root root_of[2];

/* --- memory --- */

byte write_of[4];			/* chunk + 1 of each write that has not ended */
byte detained;			/* writes, as a set; the others are on the origin */
byte writes;			/* issued so far */
bool suspended;

byte copies, epoch;		/* those there are, as a set; v->epoch */
byte saved;			/* bits */
bool exact;

/* Saves under way, one for each chunk. */
#define NOTHING	0
#define READING	1
#define READ	2
#define GROUP	3
#define SECOND	4
typedef save {
	byte state, tag, data, where;
	bool stale;
};
save pending[CHUNKS];

#define IDLE		0
#define WRITING		1
#define FLUSHING	2
#define DURABLE		3
byte group, group_blocks;
byte second, second_blocks;	/* with FUA, if -DTWO: begun before that one is published */

/* Ops: none, waiting, in the group, applied, in the second. */
#define WAITING	1
#define TAKEN	2
#define APPLIED	3
#define LATER	4
byte op, op_type, op_copy, rotation;

byte head = 1, tail = 1, rotate_seq;

/* Exceptions: where (area chunk + 1), and in which of these they are. */
#define ACTIVE	1		/* table */
#define OLD	2		/* table */
#define TREE	4
#define DOOMED	8		/* not in the tree that a join makes */
byte entry[ENTRIES], entry_in[ENTRIES];

byte used, freed, releasing;	/* alloc.c */
byte supers;

/* The reader */
bool reading, tracked;
byte read_copy, read_chunk, read_tag, read_where;
bool reader_before;		/* synchronize_srcu() waits for it */

/* --- what must be --- */

byte must_show[ENTRIES];	/* by chunk and copy */
byte created, deleting, deleted;	/* done, begun, done: as sets */

/* --- the user, and the devices' part in his writes --- */

inline submit(w, c)		/* bios on the origin */
{
	MAY(origin_may[c], w)
}

/* release(): at once, as to be late shows nothing that a late end of the write does not */
inline release_one(w)
{
	if
	:: (detained & BIT(w)) && (!copies || (saved & BIT(write_of[w] - 1))) ->
		detained = detained & ~BIT(w);
		submit(w, write_of[w] - 1)
	:: else
	fi
}

inline release_all()
{
	release_one(1);
	release_one(2);
	release_one(3)
}

/* dms_map_origin(), map_write() */
inline map_write(c)
{
	d_step {
		!suspended && writes < WRITES && (c == 0 || writes);
		writes++;
		write_of[writes] = c + 1;
		if
		:: !copies || (saved & BIT(c)) -> submit(writes, c)
		:: else -> detained = detained | BIT(writes)
		fi
	}
}

inline end_write(w)
{
	d_step {
		write_of[w] && !(detained & BIT(w));
		origin_cur[write_of[w] - 1] = w;
		write_of[w] = 0
	}
}

active proctype user()
{
	do
	/* The chunks are alike: the first write is to the first. */
	:: map_write(0)
	:: map_write(1)
	:: end_write(1)
	:: end_write(2)
	:: end_write(3)
	od
}

/* --- taking and deleting copies: shadow.c --- */

/* dms_shadow_drop(), as a reader may be at work; any victim */
inline drop(s)
{
	d_step {
		!suspended && !op && (copies & BIT(s));
#ifndef READER
		deleting = deleting | BIT(s);
#endif
		op_type = DELETE;
		op_copy = s;
		op = WAITING;
#ifdef WRONG_DELETE_FIRST
		copies = copies & ~BIT(s);
		exact = false;
		release_all()
#endif
	}
}

active proctype control()
{
	do
	:: d_step { !suspended && !op && epoch < COPIES -> suspended = true }
	:: d_step {
		/* dm_suspend() waits for what is under way, detained or not */
		suspended && !op && !write_of[1] && !write_of[2] && !write_of[3];
		/* dms_shadow_create(): dms_io_flush(v->origin) */
		for (i : 0 .. CHUNKS - 1) {
#ifndef WRONG_NO_ORIGIN_FLUSH
			ONLY(origin_may[i], origin_cur[i]);
#endif
			must_show[ENTRY(i, epoch + 1)] = origin_cur[i]
		}
		/* dms_saver_commit() */
		op_type = CREATE;
		op_copy = epoch + 1;
		op = WAITING
	   }
	:: drop(1)
	:: drop(2)
	od
}

/* --- the saver: cow.c, commit.c --- */

#define WAITS_FOR(c)	((detained & BIT(1) && write_of[1] == c + 1) || \
			 (detained & BIT(2) && write_of[2] == c + 1) || \
			 (detained & BIT(3) && write_of[3] == c + 1))
#define NEWEST(set)	((set) & BIT(2) -> 2 : ((set) & BIT(1) -> 1 : 0))
#define MAX_TAG(c)	(entry[ENTRY(c, 2)] -> 2 : (entry[ENTRY(c, 1)] -> 1 : 0))

/* collect_bio(), need() */
inline collect(c)
{
	d_step {
		copies && !(saved & BIT(c)) && pending[c].state == NOTHING && WAITS_FOR(c);
		/* exact: a clear bit says enough about the newest */
		if
		:: !exact && MAX_TAG(c) >= NEWEST(copies) ->
			saved = saved | BIT(c);
			release_all()
		:: else ->
			pending[c].state = READING;
			pending[c].tag = NEWEST(copies)
		fi
	}
}

inline end_read(c)		/* the device, read_endio() */
{
	d_step {
		pending[c].state == READING;
		pending[c].data = DATA(c, origin_cur[c]);
		pending[c].state = READ
	}
}

inline save_free(c)
{
	pending[c].state = NOTHING;
	pending[c].tag = 0;
	pending[c].data = 0;
	pending[c].where = 0;
	pending[c].stale = false
}

/* may_start() */
#define NO_OP		(op != TAKEN && rotation != TAKEN)
#ifdef TWO
#define MAY_START	(group == IDLE || (second == IDLE && NO_OP))
#else
#define MAY_START	(group == IDLE)
#endif

/* examine(), dms_group_start(): what is of no use */
inline discard(c)
{
	d_step {
		pending[c].state == READ && (pending[c].stale || (MAY_START && !copies));
		save_free(c)
	}
}

#define NEXT		(head + group_blocks + second_blocks)
/* A journal block of its own for each record; group_add_record(), group_submit_journal() */
inline add_record(t, c, copy, place, what)
{
#ifndef READER
	record_nr++;
	rec[record_nr].type = t;
	rec[record_nr].chunk = c;
	rec[record_nr].tag = copy;
	rec[record_nr].where = place;
	rec[record_nr].data = what;
	rec[record_nr].seq = NEXT;
#ifdef WRONG_STABLE
	rec[record_nr].stable = NEXT + 1;
#elif defined(WRONG_STABLE_SECOND)
	rec[record_nr].stable = head + (group == IDLE -> 0 : group_blocks);
#else
	rec[record_nr].stable = head;
#endif
	j = NEXT % SLOTS;
	MAY(slot_may[j], record_nr);
	slot_cur[j] = record_nr;	/* nobody reads it before it is written */
	issue(AT_SLOT(j));
#endif
	if
	:: group == IDLE -> group_blocks++
	:: else -> second_blocks++
	fi
}

#ifdef READER
#define ROOM		true
#else
#define ROOM		(NEXT - tail < SLOTS)
#endif
#define FREE_CHUNK	(!(used & 1) -> 0 : (!(used & 2) -> 1 : (!(used & 4) -> 2 : \
				(!(used & 8) -> 3 : 4))))

/* group_add_run(), group_add_data() */
inline add_save(c)
{
	if
	:: pending[c].state == READ && !pending[c].stale && ROOM && FREE_CHUNK < SPACE ->
		i = FREE_CHUNK;
		used = used | BIT(i);
		pending[c].where = i;
		pending[c].state = (group == IDLE -> GROUP : SECOND);
		MAY(data_may[i], pending[c].data);
#ifdef WRONG_PUBLISH_EARLY
		entry[ENTRY(c, pending[c].tag)] = i + 1;
		entry_in[ENTRY(c, pending[c].tag)] = ACTIVE;
#endif
#ifdef WRONG_RELEASE_EARLY
		saved = saved | BIT(c);
		release_all();
#endif
		issue(AT_DATA(i));
		add_record(SAVE, c, pending[c].tag, i, pending[c].data)
	:: else
	fi
}

#define SAVABLE(c)	(copies && pending[c].state == READ && !pending[c].stale && \
			 FREE_CHUNK < SPACE && ROOM)

/* dms_group_start() */
inline group_start()
{
	d_step {
		MAY_START && ((op == WAITING && ROOM) || rotation == WAITING ||
			      SAVABLE(0) || SAVABLE(1));
		if
		:: op == WAITING && ROOM ->
			op = (group == IDLE -> TAKEN : LATER);
			add_record(op_type, 0, op_copy, 0, 0)
		:: else
		fi;
		if
		:: rotation == WAITING -> rotation = (group == IDLE -> TAKEN : LATER)
		:: else
		fi;
		if
		:: copies ->
			add_save(0);
			add_save(1)
		:: else
		fi;
		if
		:: group == IDLE -> group = (group_blocks -> WRITING : DURABLE)
		:: else -> second = (second_blocks -> WRITING : DURABLE)
		fi
	}
}

/*
 * The devices, then dms_group_finish(), group_flush().  That one write of a group
 * ends before another shows nowhere; the flush takes what has ended when it begins,
 * the less the earlier.
 */
inline end_group()
{
	d_step {
		group == WRITING;
#ifdef WRONG_FLUSH_EARLY
		group_flush = EVERYWHERE & ~writing;
#endif
		for (j : 0 .. CHUNKS - 1) {
			if
			:: pending[j].state == GROUP ->
				data_cur[pending[j].where] = pending[j].data;
				writing = writing & ~AT_DATA(pending[j].where);
#ifdef FUA
				ONLY(data_may[pending[j].where], pending[j].data)
#endif
			:: else
			fi
		}
		for (i : 1 .. group_blocks) {
			j = (head + i - 1) % SLOTS;
			writing = writing & ~AT_SLOT(j);
#ifdef FUA
			ONLY(slot_may[j], slot_cur[j])
#endif
		}
#ifdef FUA
		group = DURABLE
#else
#ifndef WRONG_FLUSH_EARLY
		group_flush = EVERYWHERE & ~writing;
#endif
		group = FLUSHING
#endif
	}
}

/* The second's writes are over, before the first's or after them. */
inline end_second()
{
	d_step {
		second == WRITING;
		for (j : 0 .. CHUNKS - 1) {
			if
			:: pending[j].state == SECOND ->
				data_cur[pending[j].where] = pending[j].data;
				writing = writing & ~AT_DATA(pending[j].where);
				ONLY(data_may[pending[j].where], pending[j].data)
			:: else
			fi
		}
		for (i : 1 .. second_blocks) {
			j = (head + group_blocks + i - 1) % SLOTS;
			writing = writing & ~AT_SLOT(j);
			ONLY(slot_may[j], slot_cur[j])
		}
		second = DURABLE
	}
}

inline end_flush()
{
	d_step {
		group == FLUSHING;
		flushed(group_flush);
		group = DURABLE
	}
}

/* group_publish(), the loop over runs */
inline publish(c)
{
	if
	:: pending[c].state == GROUP ->
		i = ENTRY(c, pending[c].tag);
		entry[i] = pending[c].where + 1;
		entry_in[i] = ACTIVE
	:: else
	fi
}

/* group_publish(), the loop over saves */
inline bits_set(c)
{
	if
	:: pending[c].state == GROUP ->
		saved = saved | BIT(c);
		save_free(c)
	:: else
	fi
}

/* dms_drain_reads() */
#ifdef WRONG_NO_DRAIN
#define DRAINED(c)	true
#else
#define DRAINED(c)	(pending[c].state != GROUP || !tracked || read_chunk != c)
#endif

inline rotate()
{
	for (i : 0 .. ENTRIES - 1) {
		entry_in[i] = (entry_in[i] == ACTIVE -> OLD : entry_in[i])
	}
}

/* apply_create(), apply_delete(), rotate() */
inline apply_ops()
{
	if
	:: op == TAKEN && op_type == CREATE ->
#ifndef WRONG_STALE
		for (i : 0 .. CHUNKS - 1) {
			pending[i].stale = pending[i].state != NOTHING
		}
#endif
		epoch = op_copy;
		saved = 0;
		exact = true;
		copies = copies | BIT(op_copy);
#ifndef READER
		created = created | BIT(op_copy);
#endif
		suspended = false
	:: op == TAKEN && op_type == DELETE ->
#ifndef WRONG_EXACT
		if
		:: op_copy == NEWEST(copies) -> exact = false
		:: else
		fi;
#endif
		copies = copies & ~BIT(op_copy);
#ifndef READER
		deleted = deleted | BIT(op_copy)
#endif
	:: else
	fi;
	if
	:: op == TAKEN ->
		op = 0;
		op_type = 0;
		op_copy = 0
	:: else
	fi;
	if
	:: rotation == TAKEN ->
		rotate_seq = head;
		rotate();
		rotation = APPLIED
	:: else
	fi
}

active proctype saver()
{
	do
#ifdef WRONG_ORDER
	:: d_step {		/* published before the first is durable */
		second == DURABLE && pending[0].state == SECOND;
		entry[ENTRY(0, pending[0].tag)] = pending[0].where + 1;
		entry_in[ENTRY(0, pending[0].tag)] = ACTIVE;
		saved = saved | BIT(0);
		release_all()
	   }
#endif
	:: collect(0)
	:: collect(1)
	:: discard(0)
	:: discard(1)
	:: group_start()
	:: d_step {
		group == DURABLE;
#ifndef READER
		head = head + group_blocks;
#endif
		group_blocks = 0;
		publish(0);
		publish(1)
#ifdef READER
	   }
	   d_step {
		DRAINED(0);
		bits_set(0);
		release_all()
	   }
	   d_step {
		DRAINED(1);
#else
		bits_set(0);
#endif
		bits_set(1);
		apply_ops();
		release_all();
		group = IDLE
#ifdef TWO
		;
		for (j : 0 .. CHUNKS - 1) {
			pending[j].state = (pending[j].state == SECOND -> GROUP : pending[j].state)
		}
		op = (op == LATER -> TAKEN : op);
		rotation = (rotation == LATER -> TAKEN : rotation);
		group = second;
		group_blocks = second_blocks;
		second = IDLE;
		second_blocks = 0
#endif
	   }
	od
}

active proctype device()
{
	do
	:: end_read(0)
	:: end_read(1)
	:: end_group()
#ifdef TWO
	:: end_second()
#endif
	:: end_flush()
	od
}

/* --- checkpoints and joins: checkpoint.c, background.c --- */

/* Does no copy need the exception?  See "The idea" in design.rst. */
#define DEAD(c, tag)	(tag == 1 || entry[ENTRY(c, 1)] -> !(copies & BIT(tag)) : \
				!(copies & (BIT(1) | BIT(2))))
#define CAN_GO(c, tag)	(entry_in[ENTRY(c, tag)] == TREE && DEAD(c, tag))

/* join_stream(), free_doomed() */
inline doom(c, tag)
{
	if
	:: CAN_GO(c, tag) ->
		i = ENTRY(c, tag);
		entry_in[i] = entry_in[i] | DOOMED;
		freed = freed | BIT(entry[i] - 1)
	:: else
	fi
}

/* What nothing leads to any more: fewer states. */
inline forget()
{
#ifndef READER
	for (i : 1 .. record_nr) {
		if
		:: rec[i].seq < tail ->
			rec[i].type = 0;
			rec[i].chunk = 0;
			rec[i].tag = 0;
			rec[i].where = 0;
			rec[i].data = 0;
			rec[i].seq = 0;
			rec[i].stable = 0
		:: else
		fi
	}
	j = (supers + 1) % 2;
	root_of[j].copies = 0;
	root_of[j].from = 0;
	root_at[j] = 0;
	for (i : 0 .. SLOTS - 1) {
		for (j : 1 .. record_nr) {
			if
			:: slot_may[i] & BIT(j) && !rec[j].seq ->
				slot_may[i] = (slot_may[i] & ~BIT(j)) | 1
			:: else
			fi
		}
		slot_cur[i] = (rec[slot_cur[i]].seq -> slot_cur[i] : 0)
	}
	for (i : 0 .. SPACE - 1) {
		if
		:: !(used & BIT(i)) ->
			ONLY(data_may[i], 0);
			data_cur[i] = 0
		:: else
		fi
	}
	j = (supers + 1) % 2;
	for (i : 0 .. ENTRIES - 1) { root_of[j].entry[i] = 0 }
#else
	skip
#endif
}

/* Each block is a step: what goes on in between may matter. */
active proctype background()
{
	byte from;

	do
	:: atomic {
		supers < SUPERS ->
		if
		:: true ->
			/* dms_checkpoint() */
#ifdef WRONG_ROTATE
			d_step {	/* not between two groups */
				rotate_seq = head + group_blocks;
				rotate();
				rotation = APPLIED
			}
#else
			rotation = WAITING;
#endif
			rotation == APPLIED;
			rotation = 0;
			from = rotate_seq;
			rotate_seq = 0
		:: CAN_GO(0, 1) || CAN_GO(0, 2) || CAN_GO(1, 1) || CAN_GO(1, 2) ->
			/* reclaim(), join_trees(): for all chunks and tags the same copies */
			d_step {
				doom(0, 2);
				doom(0, 1);
				doom(1, 2);
				doom(1, 1);
				from = tail
			}
		fi
	   }
		d_step {
			/* write_shadows() */
			supers++;
#ifndef READER
			root_of[supers % 2].copies = copies
#endif
		}
		d_step {
			/* blocks_take(), blocks_free(), write_bitmap(), write_root() */
#ifndef READER
			FREE_CHUNK < SPACE;
			i = FREE_CHUNK;
			j = supers % 2;
			used = used | BIT(i);
			root_at[j] = i;
			freed = freed | (super -> BIT(root_at[1 - j]) : 0);
			MAY(data_may[i], ROOT(supers));
			data_cur[i] = ROOT(supers);
			issue(AT_DATA(i));
			root_of[j].from = from;
			for (i : 0 .. ENTRIES - 1) {
				root_of[j].entry[i] = (entry_in[i] == OLD || entry_in[i] == TREE ->
						       entry[i] : 0)
			}
#endif
#ifdef WRONG_FREE_EARLY
			used = used & ~freed;
			freed = 0;
#endif
			releasing = freed;
			freed = 0;
#ifdef WRONG_TAIL_EARLY
			tail = from
#endif
		}
#ifndef READER
		d_step {
			/* It ends.  dms_super_write(): PREFLUSH begins */
			writing = writing & ~AT_DATA(root_at[supers % 2]);
			super_flush = EVERYWHERE & ~writing
		}
		d_step {
#ifndef WRONG_NO_PREFLUSH
			flushed(super_flush);
#endif
			super_next = supers
		}
#endif
		d_step {
			/* FUA: it is durable when it ends */
#ifndef READER
			super = supers;
			super_next = 0;
#endif
			/* dms_commit(): the new list of trees, synchronize_srcu() */
			for (i : 0 .. ENTRIES - 1) {
				if
				:: entry_in[i] == OLD -> entry_in[i] = OLD | TREE
				:: entry_in[i] & DOOMED ->
					entry_in[i] = 0;
					entry[i] = 0
				:: else
				fi
			}
#ifndef WRONG_NO_SYNC
			reader_before = reading
#endif
		}
		d_step {
			!reader_before;
			/* dms_alloc_commit() */
			used = used & ~releasing;
			releasing = 0;
			tail = from;
			from = 0;
			forget();
			/* dms_checkpoint_table(): dms_table_reset() */
			for (i : 0 .. ENTRIES - 1) {
				entry_in[i] = (entry_in[i] == (OLD | TREE) -> TREE : entry_in[i])
			}
		}
	od
}

/* --- a reader of copies: map.c --- */

/* dms_lookup(): the better of what is known and the exception with @tag, if it is in @kind */
inline look(tag, kind)
{
	i = ENTRY(read_chunk, tag);
	if
	:: read_copy <= tag && (entry_in[i] & (kind)) && (!read_tag || tag < read_tag) ->
		read_tag = tag;
		read_where = entry[i]
	:: else
	fi
}

inline map_read(s, c)
{
	d_step {
		copies & BIT(s);
		/* read_new(): srcu, track(); the trees of that instant */
		reading = true;
#ifndef WRONG_TRACK_LATE
		tracked = true;
#endif
		read_copy = s;
		read_chunk = c;
		look(1, TREE);
		look(2, TREE)
	}
	d_step {
		/* dms_lookup(): tables */
		look(1, ACTIVE | OLD);
		look(2, ACTIVE | OLD);
		/* submit_area() untracks, submit_origin() */
		tracked = (read_where -> false : tracked)
	}
#ifdef WRONG_TRACK_LATE
	tracked = !read_where;
#endif
	d_step {
		/* read_finish(): a copy that has gone gives an error */
		if
		:: !(copies & BIT(s))
		:: else ->
			/* The reader gets what the copy must show. */
			assert((read_where ->
				data_cur[read_where - 1] == DATA(c, must_show[ENTRY(c, s)]) :
				origin_cur[c] == must_show[ENTRY(c, s)]))
		fi;
		reading = false;
		reader_before = false;
		tracked = false;
		read_copy = 0;
		read_chunk = 0;
		read_tag = 0;
		read_where = 0
	}
}

#ifdef READER
active proctype reader()
{
	do
	:: map_read(1, 0)
	:: map_read(1, 1)
	:: map_read(2, 0)
	:: map_read(2, 1)
	od
}

#else
/* --- a crash, and replay.c --- */

hidden short choice, choice_left, choices, n, seq, stable, end, r, tag, set;
hidden byte has_super, has_origin[CHUNKS], has_data[SPACE], has_slot[SLOTS];
hidden byte got[ENTRIES], got_copies;
hidden byte gap;

/* The number'th of the things in @these that the crash left; how many there are in n. */
inline choose(has, these)
{
	n = 0;
	for (j : 0 .. CONTENTS - 1) {
		if
		:: ((these) & BIT(j)) -> n++
		:: else
		fi
	}
	r = choice_left % n;
	choice_left = choice_left / n;
	choices = choices * n;
	for (j : 0 .. CONTENTS - 1) {
		if
		:: ((these) & BIT(j)) ->
			if
			:: r == 0 -> has = j
			:: else
			fi;
			r--
		:: else
		fi
	}
}

inline look_at(has, these, now)
{
	if
	:: these == BIT(now) -> has = now
	:: else -> choose(has, these)
	fi
}

/* One of the states that power cut here may leave, and how many there are. */
inline crash_leaves()
{
	choice_left = choice;
	choices = 1;
	set = BIT(super) | BIT((super_next -> super_next : super));
	choose(has_super, set);
	for (i : 0 .. CHUNKS - 1) { look_at(has_origin[i], origin_may[i], origin_cur[i]) }
	for (i : 0 .. SPACE - 1) { look_at(has_data[i], data_may[i], data_cur[i]) }
	for (i : 0 .. SLOTS - 1) { look_at(has_slot[i], slot_may[i], slot_cur[i]) }
}

#define FITS(s)	(has_slot[(s) % SLOTS] && rec[has_slot[(s) % SLOTS]].seq == (s))
#define REC(s)	rec[has_slot[(s) % SLOTS]]

inline replay()
{
	/* load_root(): what the superblock leads to is there (I5) */
	assert(!has_super || has_data[root_at[has_super % 2]] == ROOT(has_super));
	got_copies = root_of[has_super % 2].copies;
	for (i : 0 .. ENTRIES - 1) { got[i] = root_of[has_super % 2].entry[i] }
	/* find_end() */
	seq = (has_super -> root_of[has_super % 2].from : 1);
	end = seq;
	stable = seq;
	do
	:: seq - end < SLOTS && FITS(seq) ->
		stable = (REC(seq).stable > stable -> REC(seq).stable : stable);
		seq++
	:: else -> break
	od;
	/* is_gap(): nothing that was durable is missing (I4) */
	for (n : seq + 1 .. seq + SLOTS - 1) {
		assert(!FITS(n) || REC(n).stable <= seq)
	}
	/* apply_all() up to the first save that is torn */
	gap = 0;
	do
	:: end < seq && !gap ->
		if
		:: REC(end).type == SAVE ->
#ifndef WRONG_NO_CHECKSUM
			if
			:: end >= stable && has_data[REC(end).where] != REC(end).data -> gap = 1
			:: else -> got[ENTRY(REC(end).chunk, REC(end).tag)] = REC(end).where + 1
			fi
#else
			got[ENTRY(REC(end).chunk, REC(end).tag)] = REC(end).where + 1
#endif
		:: REC(end).type == CREATE -> got_copies = got_copies | BIT(REC(end).tag)
		:: REC(end).type == DELETE -> got_copies = got_copies & ~BIT(REC(end).tag)
		fi;
		end++
	:: else -> break
	od
}

inline check_copy(s)
{
	/* What was promised is there, what was deleted is not. */
	assert((got_copies & BIT(s)) || !(created & ~deleting & BIT(s)));
	assert(!(got_copies & deleted & BIT(s)));
	for (i : 0 .. CHUNKS - 1) {
		tag = s;
		do
		:: tag <= COPIES && !got[ENTRY(i, tag)] -> tag++
		:: else -> break
		od;
		/* What is there shows what it must. */
		assert(!(got_copies & BIT(s)) ||
		       (tag <= COPIES ->
			has_data[got[ENTRY(i, tag)] - 1] == DATA(i, must_show[ENTRY(i, s)]) :
			has_origin[i] == must_show[ENTRY(i, s)]))
	}
}

/* Goes through all that a crash here may leave, and changes nothing. */
active proctype crash()
{
	do
	:: d_step {
		choice = 0;
		do
		:: true ->
			crash_leaves();
			replay();
			check_copy(1);
			check_copy(2);
			choice++;
			if
			:: choice == choices -> break
			:: else
			fi
		od
	   }
	od
}
#endif
