# SPDX-License-Identifier: AGPL-3.0-or-later
"""The chain of records: whatever is done to a line is found, and what a power cut leaves is not taken for that."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from edgeagent.core import receipts
from edgeagent.core.receipts import ChainReport, Line, Link, check_chain, parse_link, read_seal, seal

START = Link()


def chain(count: int, after: Link = START) -> tuple[list[bytes], Link]:
    """So many sealed records, and the link of the last."""
    lines, link = [], after
    for i in range(count):
        text, link = seal(json.dumps({"event": f"e{after.seq + i + 1}", "why": 'a "quoted" ü'}), link)
        lines.append(text.encode())
    return lines, link


def check(lines: list[bytes], first: int = 1, *anchors: Link) -> ChainReport:
    """As lines of one file."""
    return check_chain([Line("f", n, data) for n, data in enumerate(lines, 1)], first, anchors)


def found(report: ChainReport) -> tuple[str, int, int]:
    """How the first broken record is broken, its number and its line."""
    assert report.broken
    return report.broken.how, report.broken.seq, report.broken.line


def test_a_seal_is_the_hash_of_what_stands_before_it() -> None:
    """Anybody can check it with sha256 and the bytes of the line; the record is as it was, with three more fields."""
    text, link = seal('{"event": "a", "why": "ü"}', Link(6, "0" * 64))
    body = text[: text.index(', "hash"')]
    assert link == Link(7, sha256(body.encode()).hexdigest())
    assert json.loads(text) == {"event": "a", "why": "ü", "seq": 7, "prev": "0" * 64, "hash": link.hash}
    assert read_seal(text.encode()) == receipts.Sealed(link, "0" * 64, True)


def test_a_chain_as_it_was_written() -> None:
    """Nothing is wrong, and its end is said; the head may be behind, for a kill comes between file and head."""
    lines, head = chain(5)
    for anchor in (head, Link(), read_link(lines[3])):
        report = check(lines, 1, anchor)
        assert report == ChainReport(5, 1, str(head))
    assert parse_link(str(head)) == head
    assert check([]) == ChainReport()


def read_link(line: bytes) -> Link:
    """Of a sealed line."""
    sealed = read_seal(line)
    assert sealed
    return sealed.link


@pytest.mark.parametrize("place", range(6))
def test_a_changed_record(place: int) -> None:
    """Wherever it is, and whatever becomes of its line: it is the one that is said."""
    lines, head = chain(6)
    n = place + 1
    changed = lines[place].replace(f'"e{n}"'.encode(), b'"e9"')
    for other in (changed, b"junk", lines[place][:40], lines[place].replace(b'"hash": "', b'"hash": "x')):
        broken = [*lines[:place], other, *lines[n:]]
        how, seq, line = found(check(broken, 1, head))
        assert (
            (how, seq) in {("changed", n), ("removed", 1)} if place == 0 else {("changed", n), ("added", n)}
        )
        assert line in (n, n + 1)
    resealed = seal('{"event": "other"}', read_link(lines[place - 1]) if place else Link())[0].encode()
    assert found(check([*lines[:place], resealed, *lines[n:]], 1, head)) == ("changed", n, n)


@pytest.mark.parametrize("place", range(6))
def test_a_removed_record(place: int) -> None:
    """Also the first, and the last, which only the head tells."""
    lines, head = chain(6)
    how, seq, _ = found(check([*lines[:place], *lines[place + 1 :]], 1, head))
    assert (how, seq) == ("removed", place + 1)
    assert (check(lines[:-1]).broken is None) == (place >= 0)


@pytest.mark.parametrize("place", range(5))
def test_reordered_records(place: int) -> None:
    """Two that changed places: the first of the two is missing where it should be."""
    lines, head = chain(6)
    lines[place], lines[place + 1] = lines[place + 1], lines[place]
    assert found(check(lines, 1, head)) == ("reordered", place + 1, place + 1)


def test_a_record_put_in_by_hand() -> None:
    """Without a seal, or with one that somebody computed who had to leave the rest as it is; or once more."""
    lines, head = chain(4)
    by_hand = b'{"event": "update", "result": "swapped"}'
    assert found(check([*lines[:2], by_hand, *lines[2:]], 1, head)) == ("added", 3, 3)
    assert found(check([*lines, by_hand], 1, head)) == ("added", 5, 5)
    sealed = seal('{"event": "update"}', read_link(lines[1]))[0].encode()
    assert found(check([*lines[:2], sealed, *lines[2:]], 1, head))[0] in ("changed", "reordered")
    assert found(check([*lines[:3], lines[1], *lines[3:]], 1, head)) == ("reordered", 2, 4)


@pytest.mark.parametrize("torn", [b'{"event": "to', b"\x00" * 20, b'{"a": {}'])
def test_a_power_cut_is_not_taken_for_tampering(torn: bytes) -> None:
    """It leaves a line that is no record, in the middle or at the end; the chain goes on around it."""
    lines, head = chain(4)
    report = check([*lines[:2], torn, *lines[2:], torn], 1, head)
    assert (report.broken, report.records, report.torn) == (None, 4, 2)


def test_what_rotation_dropped_is_not_taken_for_tampering() -> None:
    """The head says since which record all must be there; without it that can't be told, and is said."""
    lines, head = chain(9)
    assert check(lines[4:], 5, head) == ChainReport(5, 5, str(head))
    assert found(check(lines[5:], 5, head)) == ("removed", 5, 1)
    assert check(lines[3:], 5, head).broken is None
    assert check(lines[4:], 0, head).notes == (
        "whether rotation dropped records 1 to 4 can't be told: no head file",
    )
    assert "record 2 can't be checked" in check(lines[4:], 5, head, read_link(lines[1])).notes[0]


def test_all_records_are_gone() -> None:
    """The head still knows how many there were."""
    _, head = chain(3)
    assert found(check([], 1, head)) == ("removed", 1, 0)


def test_records_of_an_earlier_release_come_first() -> None:
    """They have no seal, and are counted."""
    lines, head = chain(2)
    report = check([b'{"event": "old"}', b'{"ev', b'{"event": "old"}', *lines], 1, head)
    assert (report.unchained, report.torn, report.records, report.broken) == (2, 1, 2, None)


def test_a_text_that_looks_like_a_seal_is_none() -> None:
    """What stands in a record is quoted; the seal is what the line ends with."""
    text, link = seal(json.dumps({"why": f', "seq": 1, "prev": "", "hash": "{"0" * 64}"}}'}), Link())
    assert read_link(text.encode()) == link
    assert read_seal(json.dumps({"why": f', "seq": 1, "prev": "", "hash": "{"0" * 64}"}}'}).encode()) is None


@pytest.mark.parametrize("text", ["", "7", f"0:{'0' * 64}", f"7:{'0' * 63}", f"-1:{'0' * 64}", "7:xyz"])
def test_what_is_no_link(text: str) -> None:
    """A clear error."""
    with pytest.raises(ValueError, match="is not NUMBER:HASH"):
        parse_link(text)


@pytest.mark.parametrize("break_at", [None, 3])
def test_each_line_is_hashed_once(break_at: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the cost grows as the log does, also where something is wrong with it."""
    for count in (50, 500):
        lines, head = chain(count)
        if break_at:
            del lines[break_at]
        hashed: list[int] = []

        def counting(data: bytes, to: list[int] = hashed) -> object:
            to.append(len(data))
            return sha256(data)

        with monkeypatch.context() as m:
            m.setattr(receipts, "sha256", counting)
            assert (check(lines, 1, head).broken is None) == (break_at is None)
        assert len(hashed) == len(lines)
        assert sum(hashed) < sum(map(len, lines))
