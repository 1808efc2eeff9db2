# SPDX-License-Identifier: AGPL-3.0-or-later
"""A rotating file of sealed records (core/receipts.py), and beside it its head: where the chain begins and ends.

Without the head nobody could tell that the last records were cut off. It is written after the records that it names, so
that a kill in between leaves it behind the file, never ahead; and before rotation drops the oldest file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import structlog

from edgeagent.core.receipts import Line, Link, Sealed, read_seal, seal
from edgeagent.util.durable import write_durably
from edgeagent.util.rotating import NotWrittenError, RotatingFile

RECENT_BYTES = 2 << 20
"""So much of the newest files is looked through for the end of a chain, before all of them are."""
MAX_LINE = 4 << 20
"""Bytes of a line; of a longer one, which is none of ours, the beginning is looked at."""
_BLOCK = 1 << 16
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Head:
    """What is known of a chain beside its file. first: number of the oldest record that must be there, 0: none yet;
    last: the newest."""

    first: int = 0
    last: Link = field(default_factory=Link)


@dataclass
class Snapshot:
    """The files of a chain as they were at one instant, the oldest first, each with its size; to be closed."""

    files: list[tuple[str, BinaryIO, int]]
    head: Head

    def lines(self) -> Iterator[Line]:
        """Every line that isn't empty. Raises OSError."""
        for name, file, size in self.files:
            yield from _lines(name, file, size)

    def close(self) -> None:
        """Close the files."""
        for _, file, _ in self.files:
            file.close()


def open_chain(path: Path, keep: int) -> Snapshot:
    """The chain that `ChainedFile` keeps at `path`, also while a node writes it. Raises OSError."""
    before = read_head(path)
    with ExitStack() as undo:
        found: dict[tuple[int, int], tuple[str, BinaryIO, int]] = {}
        # Newest first: a file that is rotated meanwhile comes up again, rather than not at all.
        for each in _files(path, keep):
            try:
                file = undo.enter_context(each.open("rb"))
            except FileNotFoundError:
                continue
            stat = os.fstat(file.fileno())
            found.setdefault((stat.st_dev, stat.st_ino), (each.name, file, stat.st_size))
        head = Head(max(before.first, read_head(path).first), before.last)
        undo.pop_all()
    return Snapshot([*reversed(found.values())], head)


class ChainedFile:
    """Seals lines and appends them to `path`, which is rotated to `path`.1 … `path`.<keep>; the chain goes on over all
    of them, and over restarts.

    The end of the chain is what the head file says or, where a kill left that behind, what the file has after it. Where
    the two contradict each other, the head file is believed: so what was cut off or changed while the node was down
    stays visible. To be used from one thread at a time; the folder must exist.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int, *, durable: bool) -> None:
        """durable: records and head are on the disk when `append` returns; else when `save_head` does."""
        self.durable = durable
        self._path, self._keep = path, keep
        self._file = RotatingFile(path, max_bytes, keep, durable=durable, before_drop=self._before_drop)
        self._noted = read_head(path)
        self._head = self._recover()
        self._unsure = False  # whether the disk may have lines that it was not to have

    @property
    def files(self) -> list[Path]:
        """All files there may be, newest first."""
        return self._file.files

    @property
    def head(self) -> Head:
        """The chain as it is: of what was written."""
        return self._head

    @property
    def head_waits(self) -> bool:
        """Whether the head file is behind."""
        return self._head != self._noted

    def append(self, records: Sequence[str]) -> list[str]:
        """Seal JSON objects and write them. Returns the lines, in order.

        Raises NotWrittenError: the first `written` of them are in the chain, the others are not.
        """
        lines, links = [], [self._head.last]
        for record in records:
            line, link = seal(record, links[-1])
            lines.append(line)
            links.append(link)
        there = self._written_before(links) if self._unsure else 0
        try:
            self._file.append([line.encode() + b"\n" for line in lines[there:]])
        except NotWrittenError as e:
            self._unsure = True
            self._advance(links[there + e.written])
            raise NotWrittenError(e, there + e.written) from e
        finally:
            self._file.close()  # records are rare: nothing is held open meanwhile
        self._unsure = False
        self._advance(links[-1])
        return lines

    def save_head(self) -> None:
        """Write the head file, if it is behind. Raises OSError; the next call tries anew."""
        if not self.head_waits:
            return
        if not self.durable:  # what the head names has to be on the disk before it
            for path in self.files[:2]:
                _sync(path)
        self._write_head(self._head)

    def snapshot(self) -> Snapshot:
        """The chain now, with the head that the disk can't have been made to forget. Raises OSError."""
        return Snapshot(open_chain(self._path, self._keep).files, self._head)

    def _advance(self, last: Link) -> None:
        self._head = Head(self._head.first or min(last.seq, 1), last)

    def _recover(self) -> Head:
        noted = self._noted
        for most in (RECENT_BYTES, 1 << 62):
            seals = [s for s in _recent_seals(self.files, most) if s.intact]
            last = seals[-1].link if seals else Link()
            if noted.last == last or noted.last in [s.link for s in seals]:
                return Head(noted.first, last)
            if not noted.last.seq:  # no head file, or the kill came before the first one
                return Head(next(filter(None, map(_first_seq, reversed(self.files))), 0), last)
        why = f"the head file says {noted.last.seq}, and the file ends with {last.seq or 'none'}"
        _log.error("audit.chain_broken", path=str(self._path), why=why, todo="edgeagent history --verify")
        return noted

    def _written_before(self, links: list[Link]) -> int:
        """How many of the records after the first link are on the disk already, although that was not to be."""
        on_disk = {s.link for s in _recent_seals(self.files[:1], RECENT_BYTES) if s.intact}
        return max((n for n, link in enumerate(links) if link in on_disk), default=0)

    def _before_drop(self, staying: list[Path]) -> None:
        first = next(filter(None, map(_first_seq, reversed(staying))), self._head.last.seq + 1)
        if first > self._head.first:
            self._write_head(Head(first, self._head.last))
            self._head = self._noted

    def _write_head(self, head: Head) -> None:
        doc = {"first": head.first, "seq": head.last.seq, "hash": head.last.hash}
        write_durably(head_path(self._path), json.dumps(doc).encode() + b"\n")
        self._noted = head


def head_path(path: Path) -> Path:
    """The head file of a chain."""
    return path.with_suffix(".head")


def read_head(path: Path) -> Head:
    """What the head file of a chain says; nothing when there is none, or it can't be read."""
    try:
        doc = json.loads(head_path(path).read_bytes())
        head = Head(int(doc["first"]), Link(int(doc["seq"]), str(doc["hash"])))
    except FileNotFoundError:
        return Head()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        _log.warning("audit.head_unreadable", path=str(head_path(path)), why=str(e))
        return Head()
    return head


def _files(path: Path, keep: int) -> list[Path]:
    return RotatingFile(path, 0, keep).files


def _lines(name: str, file: BinaryIO, size: int) -> Iterator[Line]:
    number, rest = 0, b""
    file.seek(0)
    while size > 0 and (block := file.read(min(_BLOCK, size))):
        size -= len(block)
        *whole, rest = (rest + block).split(b"\n")
        rest = rest[:MAX_LINE]
        for data in whole:
            number += 1
            if data.strip():
                yield Line(name, number, data)
    if rest.strip():
        yield Line(name, number + 1, rest)


def _recent_seals(files: Sequence[Path], most: int) -> list[Sealed]:
    """The seals in the last `most` bytes, and one file at least, oldest first. What can't be read has none."""
    found: list[Sealed] = []
    for path in files:
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - most))
                seals = [s for line in file.read(min(size, most)).split(b"\n") if (s := read_seal(line))]
        except OSError:
            continue
        found = seals + found
        most -= size
        if most <= 0:
            break
    return found


def _first_seq(path: Path) -> int:
    """Number of the first record in a file, 0 when it has none."""
    try:
        with path.open("rb") as file:
            lines = _lines(path.name, file, os.fstat(file.fileno()).st_size)
            return next((s.link.seq for line in lines if (s := read_seal(line.data))), 0)
    except OSError:
        return 0


def _sync(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
