#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a few lines of Python see in an NTFS image, to compare with ntfs.c.

	ntfs_model.py exempt IMAGE CHUNK-SECTORS    runs of free chunks, by $Bitmap
	ntfs_model.py dirty IMAGE                   set the dirty flag
	ntfs_model.py free IMAGE LCN                mark a cluster free
	ntfs_model.py lcn IMAGE RECORD              first cluster of its $DATA
"""
import struct
import sys


class Volume:
    def __init__(self, path):
        self.f = open(path, "r+b", buffering=0)
        boot = self.read(0, 512)
        self.sector, per = struct.unpack_from("<HB", boot, 11)
        self.cluster = self.sector * (per if per <= 0x80 else 1 << (256 - per))
        sectors, self.mft, self.mirror = struct.unpack_from("<QQQ", boot, 40)
        self.clusters = sectors * self.sector // self.cluster
        size = struct.unpack_from("<b", boot, 64)[0]
        self.record = 1 << -size if size < 0 else size * self.cluster

    def read(self, offset, length):
        self.f.seek(offset)
        return self.f.read(length)

    def write(self, offset, data):
        self.f.seek(offset)
        self.f.write(data)

    def attribute(self, number, kind):
        """Offset in the image, and content, of an unnamed attribute's record."""
        # Fine for the first records; none of ours is anywhere else.
        at = self.mft * self.cluster + number * self.record
        data = self.read(at, self.record)
        pos = struct.unpack_from("<H", data, 20)[0]
        while True:
            have, length = struct.unpack_from("<II", data, pos)
            if have == kind and data[pos + 9] == 0:
                return at + pos, data[pos:pos + length]
            if have == 0xFFFFFFFF or not length:
                raise SystemExit("no attribute %x in record %d" % (kind, number))
            pos += length

    def runs(self, number):
        _, a = self.attribute(number, 0x80)
        pos, lcn, out = struct.unpack_from("<H", a, 32)[0], 0, []
        while a[pos]:
            n, m = a[pos] & 15, a[pos] >> 4
            length = int.from_bytes(a[pos + 1:pos + 1 + n], "little")
            lcn += int.from_bytes(a[pos + 1 + n:pos + 1 + n + m], "little", signed=True)
            out.append((lcn, length))
            pos += 1 + n + m
        return out

    def bitmap(self):
        return b"".join(self.read(lcn * self.cluster, n * self.cluster)
                        for lcn, n in self.runs(6))


def exempt(v, chunk):
    bits, chunk = v.bitmap(), chunk * 512
    total = v.clusters * v.cluster // chunk
    run = None
    for c in range(total + 1):
        first, last = c * chunk // v.cluster, ((c + 1) * chunk - 1) // v.cluster
        free = c < total and last < v.clusters and not any(
            bits[i >> 3] >> (i & 7) & 1 for i in range(first, last + 1))
        if free and run is None:
            run = c
        elif not free and run is not None:
            print(run, c - run)
            run = None


def main():
    what, v, rest = sys.argv[1], Volume(sys.argv[2]), sys.argv[3:]
    if what == "exempt":
        exempt(v, int(rest[0]))
    elif what == "dirty":
        at, a = v.attribute(3, 0x70)
        at += struct.unpack_from("<H", a, 20)[0] + 10
        for base in (0, (v.mirror - v.mft) * v.cluster):
            v.write(at + base, b"\1\0")
    elif what == "free":
        lcn = int(rest[0])
        at = v.runs(6)[0][0] * v.cluster + lcn // 8
        v.write(at, bytes([v.read(at, 1)[0] & ~(1 << lcn % 8)]))
    elif what == "lcn":
        print(v.runs(int(rest[0]))[0][0])


main()
