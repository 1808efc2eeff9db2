# SPDX-License-Identifier: AGPL-3.0-or-later
"""How busy a machine is, by how long a process waited for a processor."""

from __future__ import annotations

import threading
from pathlib import Path
from time import perf_counter

import pytest

from edgeagent.util.processor_time import OwnTime, ProcessorTime, Starvation


def thread(tasks: Path, number: int, ran_ms: int, waited_ms: int) -> None:
    """What the kernel says of one."""
    folder = tasks / str(number)
    folder.mkdir(exist_ok=True)
    (folder / "schedstat").write_text(f"{ran_ms * 10**6} {waited_ms * 10**6} 12\n")


def test_it_is_the_share_of_the_time_that_threads_wanted_to_run(tmp_path: Path) -> None:
    """Since it began to count, of all together, also of one that was started meanwhile."""
    thread(tmp_path, 1, 1000, 5000)
    time = ProcessorTime(tmp_path)
    assert time.waited() == 0.0
    thread(tmp_path, 1, 1060, 5010)
    thread(tmp_path, 2, 20, 10)
    assert time.waited() == pytest.approx(0.2)
    assert time.ran_s() == pytest.approx(0.08)


def test_a_kernel_that_does_not_tell_is_taken_for_calm(tmp_path: Path) -> None:
    """Built without the scheduler's statistics, or with others."""
    assert ProcessorTime(tmp_path / "nothing").waited() == 0.0
    thread(tmp_path, 1, 1, 1)
    (tmp_path / "1" / "schedstat").write_text("what?")
    assert ProcessorTime(tmp_path).waited() == 0.0


def test_starved_is_who_waits_while_it_says_nothing(tmp_path: Path) -> None:
    """Counted from the first second of a silence, anew in each, and never more than the silence."""
    tasks = tmp_path / "7" / "task"
    tasks.mkdir(parents=True)
    starvation = Starvation(7, tmp_path)
    thread(tasks, 1, 10, 50_000)
    assert starvation.since(0.5) == 0.0
    assert starvation.since(1.5) == 0.0
    thread(tasks, 1, 10, 53_000)
    assert starvation.since(5.0) == pytest.approx(3.0)
    thread(tasks, 2, 10, 90_000)
    assert starvation.since(6.0) == 6.0
    assert starvation.since(0.1) == 0.0
    assert starvation.since(2.0) == 0.0
    assert Starvation(8, tmp_path).since(9.0) == 0.0


def test_time_of_its_own_is_without_the_waits(tmp_path: Path) -> None:
    """The longest wait of any thread goes off what the clock says; what it waited before is none of it."""
    thread(tmp_path, 1, 10, 5000)

    def waits() -> None:
        threading.Event().wait(0.05)
        thread(tmp_path, 1, 10, 5040)
        thread(tmp_path, 2, 0, 20)

    assert OwnTime(tmp_path / "nothing").of(waits) >= 0.05
    thread(tmp_path, 1, 10, 5000)
    begun = perf_counter()
    own = OwnTime(tmp_path).of(waits)
    assert own <= perf_counter() - begun - 0.04


def test_it_is_no_less_than_what_the_busiest_thread_ran(tmp_path: Path) -> None:
    """A thread may have waited beside the work: nothing takes no time at all."""
    thread(tmp_path, 1, 10, 0)

    def works() -> None:
        threading.Event().wait(0.03)
        thread(tmp_path, 1, 30, 3_600_000)

    assert OwnTime(tmp_path).of(works) == pytest.approx(0.02)

    def calculates() -> None:
        assert sum(range(10_000))
        thread(tmp_path, 1, 30, 9_000_000)

    assert OwnTime(tmp_path).of(calculates) > 0.0


def test_what_sleeps_takes_time_of_its_own() -> None:
    """A network that waits for something else is slow all the same."""
    assert OwnTime().of(lambda: threading.Event().wait(0.02)) > 0.01


def test_this_machine_tells_something() -> None:
    """Whatever it is."""
    time = ProcessorTime()
    assert sum(range(100_000))
    assert 0.0 <= time.waited() <= 1.0
