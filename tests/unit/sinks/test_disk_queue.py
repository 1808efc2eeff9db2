# SPDX-License-Identifier: AGPL-3.0-or-later
"""The queue on the disk: order, what a kill, a full share and a damaged disk cost, what is left when all is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.sinks.disk_queue import DiskQueue
from edgeagent.util.rotating import NotWrittenError
from tests.support.full_disk import DiskWith

QUOTA = 64_000
ITEM = 500


def item(number: int) -> bytes:
    """Of a size that says how many fit."""
    return b"%d" % number + b" " * (ITEM - len(b"%d" % number))


def numbers(queue: DiskQueue, most: int = 10**6) -> list[int]:
    """Take out, and finish, what is in it."""
    found: list[int] = []
    while len(found) < most and (batch := queue.peek(min(50, most - len(found)), 10_000)):
        found += [int(data) for data in batch.items]
        queue.done(batch, len(batch.items))
    return found


def segments(folder: Path) -> list[Path]:
    """Files with items, oldest first."""
    return sorted(folder.glob("*.queue"))


def killed(queue: DiskQueue) -> None:
    """What the kernel does when its process ends: it takes the lock, and nothing else."""
    os.close(queue._lock_fd)
    queue._lock_fd = -1


def test_what_is_put_in_comes_out_in_order(tmp_path: Path) -> None:
    """Also over segments, and in batches of another size."""
    queue = DiskQueue(tmp_path / "q", QUOTA)
    queue.append([item(n) for n in range(60)])
    assert (queue.items, len(segments(tmp_path / "q"))) == (60, 4)
    assert numbers(queue, 7) == list(range(7))
    queue.append([item(60)])
    assert numbers(queue) == list(range(7, 61))
    assert (queue.items, queue.dropped) == (0, 0)


def test_what_is_not_done_is_there_after_a_kill(tmp_path: Path) -> None:
    """What is done stays done, as long as the machine does."""
    queue = DiskQueue(tmp_path / "q", QUOTA)
    queue.append([item(n) for n in range(40)])
    assert numbers(queue, 25) == list(range(25))
    batch = queue.peek(10, 10_000)
    assert batch
    queue.done(batch, 3)
    killed(queue)
    again = DiskQueue(tmp_path / "q", QUOTA)
    again.append([item(40)])
    assert again.items == 13
    assert numbers(again) == list(range(28, 41))


def test_a_torn_end_costs_what_was_being_written(tmp_path: Path) -> None:
    """It was not said to be kept, and must not take with it what comes next."""
    queue = DiskQueue(tmp_path / "q", QUOTA)
    queue.append([item(0), item(1)])
    killed(queue)
    (segment,) = segments(tmp_path / "q")
    with segment.open("ab") as f:
        f.write(b"\x00\x01\x00\x00half an it")
    again = DiskQueue(tmp_path / "q", QUOTA)
    again.append([item(2)])
    assert numbers(again) == [0, 1, 2]


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\x01\x00\x00\x00"])
def test_a_damaged_item_costs_the_rest_of_its_segment(tmp_path: Path, length: bytes) -> None:
    """That many are counted, and it goes on with the next, whatever the damaged length says."""
    queue = DiskQueue(tmp_path / "q", QUOTA)
    queue.append([item(n) for n in range(40)])
    first = segments(tmp_path / "q")[0]
    of_first = first.stat().st_size // (ITEM + 8)
    with first.open("r+b") as f:
        f.seek(2 * (ITEM + 8))
        f.write(length)
    assert numbers(queue) == [0, 1, *range(of_first, 40)]
    assert (queue.items, queue.dropped) == (0, of_first - 2)


def test_files_that_somebody_removes_are_gone(tmp_path: Path) -> None:
    """And counted."""
    queue = DiskQueue(tmp_path / "q", QUOTA)
    queue.append([item(n) for n in range(40)])
    of_first = segments(tmp_path / "q")[0].stat().st_size // (ITEM + 8)
    segments(tmp_path / "q")[0].unlink()
    assert numbers(queue) == list(range(of_first, 40))
    assert queue.dropped == of_first


def test_the_oldest_make_way_when_it_is_full(tmp_path: Path) -> None:
    """What is on the disk never takes more than its share, and each item is accounted for."""
    queue = DiskQueue(tmp_path / "q", QUOTA)
    for n in range(0, 1000, 20):
        queue.append([item(n + k) for k in range(20)])
        assert sum(path.stat().st_size for path in segments(tmp_path / "q")) <= QUOTA
    assert queue.items + queue.dropped == 1000
    assert queue.items * (ITEM + 8) > QUOTA * 3 // 4
    assert numbers(queue) == list(range(queue.dropped, 1000))


def test_a_batch_whose_items_were_dropped_meanwhile_is_no_news(tmp_path: Path) -> None:
    """It was on its way when the queue got full."""
    queue = DiskQueue(tmp_path / "q", QUOTA)
    queue.append([item(0)])
    batch = queue.peek(1, 1000)
    queue.append([item(n) for n in range(1, 500)])
    left = queue.items
    assert batch
    queue.done(batch, 1)
    assert queue.items == left
    assert numbers(queue)[0] == queue.dropped


def test_a_full_disk_keeps_what_it_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many of a batch are in is said; later it goes on."""
    queue = DiskQueue(tmp_path / "q", QUOTA)
    queue.append([item(0)])
    disk = DiskWith(room=queue.largest + 8 - 100)
    monkeypatch.setattr(os, "write", disk)
    with pytest.raises(NotWrittenError, match="No space left") as e:
        queue.append([item(n) for n in range(1, 100)])
    assert 0 < e.value.written < 99
    disk.room = 10**9
    queue.append([item(100)])
    assert numbers(queue) == [*range(e.value.written + 1), 100]


def test_nothing_is_left_on_the_disk_when_all_is_done(tmp_path: Path) -> None:
    """A receiver that keeps up wears no disk: its segments go before the kernel has written them."""
    queue = DiskQueue(tmp_path / "q", 10_000_000)
    for n in range(0, 2000, 10):
        queue.append([item(n + k) for k in range(10)])
        assert numbers(queue) == list(range(n, n + 10))
        assert sum(path.stat().st_size for path in segments(tmp_path / "q")) < 100_000
    assert not queue.unsynced


def test_one_at_a_time_has_it(tmp_path: Path) -> None:
    """Two would take each other's items; the other may come when the first has closed."""
    queue, other = DiskQueue(tmp_path / "q", QUOTA), DiskQueue(tmp_path / "q", QUOTA)
    queue.append([item(0)])
    with pytest.raises(OSError, match="unavailable"):
        other.append([item(1)])
    queue.close()
    other.append([item(1)])
    assert numbers(other) == [0, 1]


def test_an_item_that_no_segment_holds_is_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    queue = DiskQueue(tmp_path / "q", QUOTA)
    with pytest.raises(ValueError, match="more than"):
        queue.append([item(0), b" " * (queue.largest + 1)])
    assert queue.items == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["put", "take", "kill"]), st.integers(1, 40)), max_size=25))
def test_whatever_happens_nothing_is_lost_or_changes_its_place(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Against a list in memory, as long as the quota holds all."""
    folder = tmp_path_factory.mktemp("q")
    queue, waiting, put = DiskQueue(folder, 10**6), list[int](), 0
    for what, count in steps:
        if what == "put":
            queue.append([item(put + k) for k in range(count)])
            waiting += range(put, put + count)
            put += count
        elif what == "take":
            taken = numbers(queue, count)
            assert taken == waiting[: len(taken)]
            assert len(taken) == min(count, len(waiting))
            waiting = waiting[len(taken) :]
        elif queue._lock_fd >= 0:
            killed(queue)
            queue = DiskQueue(folder, 10**6)
    assert numbers(queue) == waiting
