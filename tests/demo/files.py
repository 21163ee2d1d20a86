#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of the demonstration.

	files.py fill DIR SEED		make documents of all sizes
	files.py change DIR SEED	rewrite, patch, extend, rename, delete, add
	files.py write DIR		change files without end, until SIGTERM
	files.py check DIR		was DIR, as `write` had it, caught at one instant?

`write` announces each change in a log of its own, with what the file will hold,
before it makes it.  At any instant, therefore, all changes but the last of the
log have been made, and the last has been or has not: what a shadow copy holds
is known file by file, though nobody stopped the writer.
"""
import hashlib
import os
import random
import signal
import sys
import time

SLOTS = 24                      # files that `write` keeps changing
MAX_BYTES = 48 << 10


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def put(path, data):
    """All of it by one write()."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        if os.write(fd, data) != len(data):
            sys.exit(f"{path}: short write")
    finally:
        os.close(fd)


# --- documents ---------------------------------------------------------------

def fill(top, seed):
    rng = random.Random(seed)
    sizes = {
        "letters": [rng.randrange(0, 700) for _ in range(25)],
        "reports/2023": [rng.randrange(1 << 10, 32 << 10) for _ in range(30)],
        "reports/2024/drafts": [rng.randrange(1 << 10, 48 << 10) for _ in range(30)],
        "pictures": [rng.randrange(100 << 10, 400 << 10) for _ in range(5)],
    }
    for folder, each in sizes.items():
        os.makedirs(f"{top}/{folder}")
        for n, size in enumerate(each):
            put(f"{top}/{folder}/{n:02}.dat", rng.randbytes(size))
    os.makedirs(f"{top}/Übersetzungen – 翻訳")
    for name in ("naïve café.txt", "Привет мир.txt", "日本語のとても長い名前" * 6 + ".txt"):
        put(f"{top}/Übersetzungen – 翻訳/{name}", name.encode() * 20)
    with open(f"{top}/sparse.img", "wb") as f:
        f.write(rng.randbytes(4096))
        f.seek(1 << 20)
        f.write(rng.randbytes(4096))


def change(top, seed):
    rng = random.Random(seed)
    files = sorted(os.path.join(d, f) for d, _, names in os.walk(top) for f in names)
    rng.shuffle(files)
    for path in files[:12]:                             # rewritten
        put(path, rng.randbytes(rng.randrange(1, 40 << 10)))
    for path in files[12:36]:                           # patched in place
        with open(path, "r+b") as f:
            f.seek(rng.randrange(os.path.getsize(path) + 1))
            f.write(rng.randbytes(rng.randrange(1, 9000)))
    for path in files[36:44]:                           # extended, cut
        with open(path, "ab") as f:
            f.write(rng.randbytes(rng.randrange(1, 20000)))
    for path in files[44:48]:
        os.truncate(path, os.path.getsize(path) // 2)
    for path in files[48:54]:
        os.rename(path, f"{os.path.dirname(path)}/renamed-{seed}-{os.path.basename(path)}")
    for path in files[54:60]:
        os.unlink(path)
    os.makedirs(f"{top}/new-{seed}/deeper")
    for n in range(10):
        put(f"{top}/new-{seed}/deeper/{n}.dat", rng.randbytes(rng.randrange(1, 50 << 10)))
    print("12 files rewritten, 24 patched, 8 extended, 4 cut, 6 renamed, 6 deleted, 10 added")


# --- the writer --------------------------------------------------------------

def log_line(number, name, digest):
    text = f"{number} {name} {digest}"
    return f"{text} {sha256(text.encode())[:8]}\n"


def write(top):
    rng = random.Random()
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    os.makedirs(top, exist_ok=True)
    for name in os.listdir(top):
        os.unlink(f"{top}/{name}")
    log = os.open(f"{top}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    held = {}
    number = 0
    while not ended:
        number += 1
        name = f"{rng.randrange(SLOTS):02}.dat"
        path = f"{top}/{name}"
        old = held.get(name)
        way = rng.choice(("replace", "overwrite", "append", "delete")) if old else "replace"
        if way == "overwrite":
            new = rng.randbytes(len(old))
        elif way == "append":
            new = old + rng.randbytes(rng.randrange(1, 8000))
        elif way == "delete":
            new = None
        else:
            new = rng.randbytes(rng.randrange(1, MAX_BYTES))
        os.write(log, log_line(number, name, sha256(new) if new else "-").encode())

        if way == "replace":
            put(f"{path}.part", new)
            os.rename(f"{path}.part", path)
        elif way == "delete":
            os.unlink(path)
        else:
            fd = os.open(path, os.O_WRONLY)
            if way == "append":
                os.pwrite(fd, new[len(old):], len(old))
            else:
                os.pwrite(fd, new, 0)
            os.close(fd)
        held[name] = new
        time.sleep(0.1)
    os.close(log)


def check(top):
    """Prints how many files were compared, and how many changes preceded."""
    with open(f"{top}/log", encoding="ascii") as f:
        lines = f.readlines()
    expected, before = {}, {}
    for n, line in enumerate(lines, 1):
        words = line.split()
        if len(words) != 4 or log_line(n, words[1], words[2]) != line:
            sys.exit(f"{top}/log: line {n} is not what was written: {line!r}")
        last = words[1]
        before = {last: expected.get(last, "-")}
        expected[last] = words[2]
    if not lines:
        sys.exit(f"{top}/log: is empty")
    found = {}
    for name in os.listdir(top):
        with open(f"{top}/{name}", "rb") as f:
            found[name] = sha256(f.read())
    del found["log"]
    found.pop(f"{last}.part", None)             # on its way to its name
    bad = [name for name in set(found) | set(expected)
           if found.get(name, "-") not in (expected.get(name), before.get(name))]
    if bad:
        sys.exit(f"{top}: after {len(lines)} changes these are not as they were: "
                 + " ".join(sorted(bad)))
    print(len(found) + 1, len(lines))


def main():
    what = {"fill": fill, "change": change, "write": write, "check": check}
    if len(sys.argv) < 3 or sys.argv[1] not in what:
        sys.exit(__doc__)
    what[sys.argv[1]](*sys.argv[2:])


main()
