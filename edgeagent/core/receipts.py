# SPDX-License-Identifier: AGPL-3.0-or-later
"""A chain of records, one JSON object a line: each is sealed with its number and the hash of the one before it.

The seal stands at the end of the line, and the hash covers every byte before it:

    {"event": "update", …, "seq": 7, "prev": "<hash of record 6>", "hash": "<SHA-256 of the line up to here>"}
                                                                 ^ what is hashed ends before `, "hash"`

So there is no second form of a record that would have to be agreed upon: the bytes in the file are the canonical
form, and `sha256` of a part of a line is all that is needed to check it. Who changes, removes or reorders a record has
to write all those after it anew, which shows as soon as one later hash is known from elsewhere (an anchor).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

MAX_SEAL = 192
"""Bytes that a seal adds to a record, at most."""
_SEAL = re.compile(rb', "seq": ([1-9][0-9]{0,15}), "prev": "([0-9a-f]{64}|)", "hash": "([0-9a-f]{64})"\}\Z')
_HASH_PART = len(b', "hash": "') + 64 + len(b'"}')
_LINK = re.compile(r"([1-9][0-9]{0,15}):([0-9a-f]{64})")


@dataclass(frozen=True)
class Link:
    """A record by its number, from 1, and its hash. Number 0 is what the first record follows."""

    seq: int = 0
    hash: str = ""

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}" if self.seq else ""


def parse_link(text: str) -> Link:
    """The link that `str` made this text of. Raises ValueError."""
    found = _LINK.fullmatch(text.strip())
    if not found:
        raise ValueError(
            f"{text[:80]!r} is not NUMBER:HASH, such as 120:9f86d081… with 64 hexadecimal digits"
        )
    return Link(int(found[1]), found[2])


@dataclass(frozen=True)
class Sealed:
    """What the seal of a line says: the record's link, and the hash of the one that it follows. intact: the line is as
    it was when it was sealed."""

    link: Link
    prev: str
    intact: bool


def seal(record: str, after: Link) -> tuple[str, Link]:
    """The record, a JSON object on one line, with its seal; and its link."""
    seq = after.seq + 1
    text = f'{record[:-1]}, "seq": {seq}, "prev": "{after.hash}"'
    digest = sha256(text.encode()).hexdigest()
    return f'{text}, "hash": "{digest}"}}', Link(seq, digest)


def read_seal(line: bytes) -> Sealed | None:
    """What the seal of a line without its newline says; None when it has none."""
    found = _SEAL.search(line, max(0, len(line) - MAX_SEAL))
    if not found:
        return None
    digest = sha256(memoryview(line)[: len(line) - _HASH_PART]).hexdigest().encode()
    return Sealed(Link(int(found[1]), found[3].decode()), found[2].decode(), digest == found[3])


@dataclass(frozen=True)
class Line:
    """One line of a file, without its newline. number: from 1."""

    file: str
    number: int
    data: bytes


@dataclass(frozen=True)
class BrokenRecord:
    """The first record that isn't where and what it was. how: changed, removed, reordered or added."""

    how: str
    seq: int
    file: str
    line: int
    why: str


@dataclass(frozen=True)
class ChainReport:
    """What became of a chain.

    records: that follow each other, from number `first` on; head: link of the last of them; unchained: records of an
    earlier release before the first; torn: lines that are no records, as a power cut leaves them; notes: what could not
    be checked.
    """

    records: int = 0
    first: int = 0
    head: str = ""
    unchained: int = 0
    torn: int = 0
    broken: BrokenRecord | None = None
    notes: tuple[str, ...] = ()


def check_chain(lines: Iterable[Line], first: int = 0, anchors: Sequence[Link] = ()) -> ChainReport:
    """Check a chain, the oldest line first; each line is looked at once, whatever is found.

    first: number of the oldest record that must be there, for rotation has dropped none after it; 0 where that isn't
    known. anchors: links that are known from elsewhere, such as the head; the chain has to pass through each of them.
    """
    check = _Check(first, [link for link in anchors if link.seq])
    rest = iter(lines)
    for line in rest:
        if broken := check.look_at(line, rest):
            return check.report(broken)
    return check.report(check.end())


class _Check:
    """A chain as far as it was looked at."""

    def __init__(self, first: int, anchors: Sequence[Link]) -> None:
        self._must_begin = first
        self._anchors: dict[int, set[str]] = {}
        for link in anchors:
            self._anchors.setdefault(link.seq, set()).add(link.hash)
        self._records = self._first = self._unchained = self._torn = 0
        self._last: Link | None = None
        self._last_line = Line("", 0, b"")
        self._torn_line: Line | None = None  # the first that is no record since the last that is

    def look_at(self, line: Line, rest: Iterator[Line]) -> BrokenRecord | None:
        """Take the next line; what is wrong with it, if anything. rest: those after it, which are taken then."""
        sealed = read_seal(line.data)
        if sealed is None:
            return self._unsealed(line, rest)
        if not sealed.intact:
            seq = self._last.seq + 1 if self._last else sealed.link.seq
            return _broken("changed", seq, line, "its content doesn't match its hash")
        if why := self._out_of_line(sealed):
            return self._misplaced(sealed, line, rest, why)
        return self._passed(sealed.link, line)

    def end(self) -> BrokenRecord | None:
        """There are no more lines; what is missing, if anything."""
        last = self._last.seq if self._last else 0
        ahead = max((seq for seq in self._anchors if seq > last), default=0)
        why = f"the chain is known to go on to record {ahead}, and ends with {last or 'none'}"
        if ahead and self._torn_line:
            return _broken("changed", last + 1, self._torn_line, why)
        return _broken("removed", last + 1, self._last_line, why) if ahead else None

    def report(self, broken: BrokenRecord | None) -> ChainReport:
        """What was found."""
        notes = []
        if self._first > 1 and not self._must_begin:
            notes.append(
                f"whether rotation dropped records 1 to {self._first - 1} can't be told: no head file"
            )
        if early := [seq for seq in self._anchors if seq < self._first]:
            notes.append(f"record {min(early)} can't be checked: rotation has dropped it")
        head = str(self._last) if self._last else ""
        return ChainReport(
            self._records, self._first, head, self._unchained, self._torn, broken, tuple(notes)
        )

    def _unsealed(self, line: Line, rest: Iterator[Line]) -> BrokenRecord | None:
        if self._last is None:
            if line.data.startswith(b"{") and line.data.endswith(b"}"):
                self._unchained += 1
                return None
        elif _is_object(line.data):
            expected = self._last.seq + 1
            follows = next((s.link.seq for s in _intact(rest)), None)
            is_there = follows == expected or (follows is None and max(self._anchors, default=0) < expected)
            if is_there:
                why = "it has no seal: written by hand, or by an earlier release"
                return _broken("added", expected, line, why)
            return _broken("changed", expected, line, f"it has no seal, and record {expected} is missing")
        self._torn += 1
        self._torn_line = self._torn_line or line
        return None

    def _out_of_line(self, sealed: Sealed) -> str:
        """Why this record can't be the next; "" when it is."""
        link, last = sealed.link, self._last
        if last is None:
            if self._must_begin and link.seq > self._must_begin:
                return f"the oldest record must be {self._must_begin}, and it is {link.seq}"
            return "the first record follows another" if link.seq == 1 and sealed.prev else ""
        if link.seq != last.seq + 1:
            return f"record {link.seq} stands where {last.seq + 1} should"
        return (
            ""
            if sealed.prev == last.hash
            else f"record {link.seq} was sealed after another record {last.seq}"
        )

    def _misplaced(self, sealed: Sealed, line: Line, rest: Iterator[Line], why: str) -> BrokenRecord:
        seq = sealed.link.seq
        expected = self._last.seq + 1 if self._last else self._must_begin or seq
        if seq < expected:
            return _broken("reordered", seq, line, why)
        if seq == expected:  # it is as it was sealed; what it follows isn't
            return _broken("changed", seq - 1 or 1, self._last_line if self._last else line, why)
        if any(other.link.seq == expected for other in _intact(rest)):
            return _broken("reordered", expected, line, why)
        if self._torn_line and self._last:
            return _broken("changed", expected, self._torn_line, why)
        return _broken("removed", expected, line, why)

    def _passed(self, link: Link, line: Line) -> BrokenRecord | None:
        if self._anchors.get(link.seq, {link.hash}) != {link.hash}:
            why = "its hash is known to have been another: the chain was written anew from here or before"
            return _broken("changed", link.seq, line, why)
        self._first = self._first or link.seq
        self._last, self._last_line, self._torn_line = link, line, None
        self._records += 1
        return None


def _broken(how: str, seq: int, line: Line, why: str) -> BrokenRecord:
    return BrokenRecord(how, seq, line.file, line.number, why)


def _intact(lines: Iterable[Line]) -> Iterator[Sealed]:
    return (sealed for line in lines if (sealed := read_seal(line.data)) and sealed.intact)


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False
