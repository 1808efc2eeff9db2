# SPDX-License-Identifier: AGPL-3.0-or-later
"""A queue on the disk, bounded in bytes: what is put in is there after `kill -9` and a restart, until it is done.

A folder of segments, `<number>.queue`, each item with its length and its CRC; the file `done` says how far the first of
them is done. Where it is full, the oldest segment goes as a whole, and is counted. What was done may come again after a
power cut; what wasn't never goes for another reason than the quota or a damaged disk.

Synced is only what waits: what is done before the next call of `sync` never is, and a segment whose items are all done
is removed, as a rule before the kernel has written it. A node whose receivers are there wears its disk hardly at all.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edgeagent.util.durable import fsync_folder, make_folder
from edgeagent.util.rotating import NotWrittenError

_ITEM = struct.Struct("<II")  # length, CRC-32 of the item
_DONE = struct.Struct("<QQI")  # segment, bytes of it that are done, CRC-32 of these
_SUFFIX = ".queue"
_FRESH_BYTES = 64 << 10
_SEGMENT_BYTES = 8 << 20
_SEGMENTS = 8
"""At least so many in a full queue: the oldest of them is what is dropped at a time."""


@dataclass
class _Segment:
    number: int
    size: int = 0  # bytes of whole items
    left: int = 0  # items that are not done


@dataclass(frozen=True)
class Batch:
    """The oldest items that aren't done. ends: bytes of the segment up to the end of each."""

    segment: int
    items: tuple[bytes, ...]
    ends: tuple[int, ...]


class DiskQueue:
    """Bytes in, in order, and out again until they are said to be done. Thread-safe; opened by whatever needs it first.

    max_bytes: of all files. A queue that another process or object has open raises BlockingIOError.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.items = 0
        """Not done. To be read without waiting for the disk, as the two below."""
        self.bytes = 0
        self.dropped = 0
        """Items that went without being done, since this object was made."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = max(4096, min(_SEGMENT_BYTES, max_bytes // _SEGMENTS))
        self._segments: list[_Segment] = []
        self._number = 0  # of the newest segment that there was
        self._done_bytes = 0  # of the oldest
        self._lock = threading.Lock()
        self._lock_fd = self._done_fd = self._tail_fd = -1
        self._head: tuple[int, int] = (-1, -1)  # segment that is read, and its descriptor
        self._unsynced = self._new_names = False

    @property
    def largest(self) -> int:
        """Bytes of the largest item that it takes."""
        return self._segment_bytes - _ITEM.size

    def append(self, items: Sequence[bytes]) -> None:
        """Put them in. Raises NotWrittenError, which says how many are in; ValueError for one that is too large."""
        if any(len(item) > self.largest for item in items):
            raise ValueError(f"an item has more than {self.largest} bytes")
        with self._lock:
            written = 0
            try:
                self._open()
                for count, data in self._pieces(items):
                    self._append(count, data)
                    written += count
            except OSError as e:
                raise NotWrittenError(e, written) from e

    def peek(self, max_items: int, max_bytes: int) -> Batch | None:
        """The oldest items, of so many bytes at most unless it is a single one; None when all are done.

        Raises OSError.
        """
        with self._lock:
            self._open()
            while self.items:
                if batch := self._read(max_items, max_bytes):
                    return batch
                self._drop_oldest()  # all of it is done, or the disk has damaged the rest
            return None

    def done(self, batch: Batch, count: int) -> None:
        """The first `count` items of what `peek` gave last are not needed any more. Raises OSError."""
        with self._lock:
            if not count or not self._segments or self._segments[0].number != batch.segment:
                return  # dropped meanwhile
            segment = self._segments[0]
            segment.left -= count
            self.items -= count
            self._done_bytes = batch.ends[count - 1]
            if not segment.left and (len(self._segments) > 1 or segment.size > _FRESH_BYTES):
                self._remove_oldest()
            os.pwrite(self._done_fd, _done_record(batch.segment, batch.ends[count - 1]), 0)

    def sync(self) -> None:
        """What waits is on the disk when this returns, as far as the disk says the truth. Raises OSError."""
        with self._lock:
            if self._unsynced and self.items and self._tail_fd >= 0:
                self._sync()

    @property
    def unsynced(self) -> bool:
        """Whether something waits that a power cut would take."""
        return self._unsynced and self.items > 0

    def close(self) -> None:
        """Sync what waits, and let another have the folder. Idempotent. Raises OSError."""
        with self._lock:
            try:
                if self._unsynced and self.items and self._tail_fd >= 0:
                    self._sync()
            finally:
                for fd in (self._head[1], self._tail_fd, self._done_fd, self._lock_fd):
                    if fd >= 0:
                        os.close(fd)
                self._head = (-1, -1)
                self._lock_fd = self._done_fd = self._tail_fd = -1
                self._segments.clear()

    # --- below: with the lock

    def _open(self) -> None:
        if self._lock_fd >= 0:
            return
        make_folder(self._folder)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._done_fd = os.open(self._folder / "done", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._scan()
        except BaseException:
            if self._done_fd >= 0:
                os.close(self._done_fd)
                self._done_fd = -1
            os.close(lock)
            raise
        self._lock_fd = lock

    def _scan(self) -> None:
        """Look at what is there. What comes from now on goes into a new segment: the end of an old one may be torn."""
        first, self._done_bytes = _read_done(os.pread(self._done_fd, _DONE.size, 0))
        names = (path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}"))
        numbers = sorted(int(name) for name in names if name.isdecimal())
        self._number = max([first, *numbers])
        self._segments.clear()
        self.items = self.bytes = 0
        for number in numbers:
            begin = self._done_bytes if number == first else 0
            segment = _Segment(number)
            for end, _ in _items(self._path(number).read_bytes()):
                segment.size = end
                segment.left += end > begin
            if number < first or not segment.left:
                self._path(number).unlink()
                continue
            self._segments.append(segment)
            self.items += segment.left
            self.bytes += segment.size
        if not self._segments or self._segments[0].number != first:
            self._done_bytes = 0

    def _pieces(self, items: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Items in their form on disk, as many together as fit into a segment."""
        data = bytearray()
        count = 0
        for item in items:
            if count and len(data) + _ITEM.size + len(item) > self._segment_bytes:
                yield count, bytes(data)
                data.clear()
                count = 0
            data += _ITEM.pack(len(item), zlib.crc32(item)) + item
            count += 1
        if count:
            yield count, bytes(data)

    def _append(self, count: int, data: bytes) -> None:
        if self._tail_fd < 0 or self._segments[-1].size + len(data) > self._segment_bytes:
            self._new_segment()
        tail = self._segments[-1]
        while len(self._segments) > 1 and self.bytes + len(data) > self._max_bytes:
            self._drop_oldest()
        written = 0
        try:
            while written < len(data):
                written += os.write(self._tail_fd, data[written:])
        except OSError:
            os.ftruncate(self._tail_fd, tail.size)
            raise
        self._unsynced = True
        tail.size += len(data)
        tail.left += count
        self.bytes += len(data)
        self.items += count

    def _new_segment(self) -> None:
        if self._tail_fd >= 0:
            if self._unsynced and self._segments[-1].left:
                self._sync()
            os.close(self._tail_fd)
            self._tail_fd = -1
        self._tail_fd = os.open(
            self._path(self._number + 1),
            os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
            0o640,
        )
        self._number += 1
        self._segments.append(_Segment(self._number))
        self._new_names = True
        if len(self._segments) == 1:
            self._done_bytes = 0

    def _sync(self) -> None:
        os.fsync(self._tail_fd)
        if self._new_names:
            fsync_folder(self._folder)
        self._unsynced = self._new_names = False

    def _read(self, max_items: int, max_bytes: int) -> Batch | None:
        """From the oldest segment; None where nothing of it is left."""
        segment, begin = self._segments[0], self._done_bytes
        if not segment.left or (fd := self._head_of(segment)) < 0:
            return None
        data = os.pread(fd, max(max_bytes, _ITEM.size), begin)
        if len(data) >= _ITEM.size:
            length = min(_ITEM.unpack_from(data)[0], self.largest)  # damaged, it may say anything
            data += os.pread(fd, max(0, _ITEM.size + length - len(data)), begin + len(data))
        found = list(islice(_items(data), max_items))
        if not found:
            return None
        return Batch(segment.number, tuple(item for _, item in found), tuple(begin + end for end, _ in found))

    def _head_of(self, segment: _Segment) -> int:
        """Its descriptor for reading; -1 when somebody has removed the file."""
        if self._head[0] != segment.number:
            if self._head[1] >= 0:
                os.close(self._head[1])
            self._head = (-1, -1)
            try:
                fd = os.open(self._path(segment.number), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return -1
            self._head = (segment.number, fd)
        return self._head[1]

    def _drop_oldest(self) -> None:
        left = self._segments[0].left
        self._remove_oldest()
        self.dropped += left
        self.items -= left

    def _remove_oldest(self) -> None:
        segment = self._segments[0]
        self._path(segment.number).unlink(missing_ok=True)
        self._segments.pop(0)
        self.bytes -= segment.size
        self._done_bytes = 0
        if self._head[0] == segment.number:
            os.close(self._head[1])
            self._head = (-1, -1)
        if not self._segments and self._tail_fd >= 0:
            os.close(self._tail_fd)
            self._tail_fd = -1

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:016d}{_SUFFIX}"


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole items at the beginning of `data`, each with the place of its end."""
    at = 0
    while at + _ITEM.size <= len(data):
        length, crc = _ITEM.unpack_from(data, at)
        end = at + _ITEM.size + length
        item = data[at + _ITEM.size : end]
        if end > len(data) or zlib.crc32(item) != crc:
            return
        yield end, item
        at = end


def _done_record(segment: int, size: int) -> bytes:
    record = _DONE.pack(segment, size, 0)
    return record[:-4] + struct.pack("<I", zlib.crc32(record[:-4]))


def _read_done(data: bytes) -> tuple[int, int]:
    if len(data) == _DONE.size and data == _done_record(*_DONE.unpack(data)[:2]):
        segment, size, _ = _DONE.unpack(data)
        return segment, size
    return 0, 0
