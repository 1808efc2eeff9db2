# SPDX-License-Identifier: AGPL-3.0-or-later
"""What workers cost, summed over those that come and go."""

from __future__ import annotations

from edgeagent.observe.worker_use import MAX_GONE, WorkerSeen, WorkerUse

ENGINE, SPARE = ("engine", "", "yolo", "v1"), ("spare", "", "yolo", "")
CAPTURE = ("capture", "line-1", "", "")


def told(use: WorkerUse, name: str = "edgeagent_worker_cpu_seconds_total") -> dict[tuple[str, ...], float]:
    """A metric by its labels."""
    return {tuple(s.labels.values()): s.value for m in use.collect() for s in m.samples if s.name == name}


def test_time_is_summed_over_workers() -> None:
    """A worker that ended keeps what it had, the next one of its kind adds to that, and a spare worker that became an
    engine's adds what it ran since."""
    use = WorkerUse()
    use.see([WorkerSeen(1, ENGINE, 5.0, 100), WorkerSeen(2, CAPTURE, 1.0, 10), WorkerSeen(3, SPARE, 2.0, 9)])
    use.see([WorkerSeen(1, ENGINE, 6.0, 110), WorkerSeen(2, CAPTURE, 1.5, 10), WorkerSeen(3, ENGINE, 2.5, 9)])
    assert told(use) == {ENGINE: 6.5, CAPTURE: 1.5, SPARE: 2.0}
    use.see([WorkerSeen(4, ENGINE, 0.5, 50)])
    use.see([WorkerSeen(4, ENGINE, 0.25, 50)])  # another process, by the same id
    assert told(use) == {ENGINE: 7.25, CAPTURE: 1.5, SPARE: 2.0}


def test_memory_is_of_those_that_live() -> None:
    """By kind and version; a worker without a version has none here."""
    use = WorkerUse()
    use.see([WorkerSeen(1, ENGINE, 0, 100), WorkerSeen(2, ENGINE, 0, 50), WorkerSeen(3, CAPTURE, 0, 7)])
    name = "edgeagent_version_memory_bytes"
    assert told(use, name) == {("engine", "yolo", "v1"): 150}
    assert use.workers == {1: ENGINE, 2: ENGINE, 3: CAPTURE}
    use.see([])
    assert told(use, name) == {}


def test_old_versions_are_forgotten() -> None:
    """A node that is updated every day for years has no endless list; what runs stays, however old."""
    use = WorkerUse()
    for n in range(30):
        use.see([WorkerSeen(1, ENGINE, n, 1), WorkerSeen(2 + n, ("engine", "", "yolo", f"w{n}"), 1.0, 1)])
    use.see([WorkerSeen(1, ENGINE, 30, 1)])
    assert set(told(use)) == {ENGINE, *(("engine", "", "yolo", f"w{n}") for n in range(30 - MAX_GONE, 30))}
    assert told(use)[ENGINE] == 30
