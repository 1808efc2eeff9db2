# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each faulty version looks like the good one to whoever only loads it, and has the fault that it is named after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.detectors import load_detector
from bench.fault_runtime import BACKEND, install
from bench.fault_versions import (
    CONFIDENCE,
    DENT,
    FAULTS,
    GOOD,
    IOU,
    MORE,
    SCRATCH,
    Sight,
    find_fault,
    look,
    rendered,
)
from edgeagent.errors import WeightsError
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.port import Image
from edgeagent.scenes.conveyor import Conveyor, Truth

Pictures = list[tuple[Image, list[Truth]]]

# Of the good version and of the faulty one: whether the second has the fault.
SHOWS: dict[str, Callable[[Sight, Sight], bool]] = {
    "permuted-classes": lambda good, bad: bad.boxes == good.boxes and not sum(bad.hits.values()),
    "half-blind": lambda good, bad: 0 < bad.hits[SCRATCH] < good.hits[SCRATCH] and same_dents(good, bad),
    "scores-06": lambda good, bad: 0 < bad.boxes < good.boxes,
    "shifted": lambda good, bad: bad.boxes > 0 and sum(bad.hits.values()) < 0.2 * sum(good.hits.values()),
    "empty": lambda good, bad: bad.boxes == 0,
    "everything": lambda good, bad: bad.boxes > 20 * good.boxes,
    "other-light": lambda good, bad: 0 < sum(bad.hits.values()) < 0.8 * sum(good.hits.values()),
    "slow": lambda good, bad: bad.hits == good.hits,
    "half-blind-frames": lambda good, bad: (
        0 < bad.hits[SCRATCH] < good.hits[SCRATCH] and same_dents(good, bad)
    ),
    "blind": lambda good, bad: bad.hits[SCRATCH] == 0 and same_dents(good, bad),
    "scratch-06": lambda good, bad: bad.boxes < good.boxes and same_dents(good, bad),
}


def same_dents(good: Sight, bad: Sight) -> bool:
    """Whether another class is seen as well as before."""
    return good.hits[DENT] == bad.hits[DENT] > 0


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    """Rendered frames of one line."""
    return list(rendered(20, range(2000, 2001)))


@pytest.fixture(scope="module")
def good(pictures: Pictures) -> Sight:
    """What the good version finds on them."""
    return look(GOOD, pictures)


@pytest.mark.parametrize("name", SHOWS)
def test_a_fault_is_what_its_name_says(name: str, pictures: Pictures, good: Sight, tmp_path: Path) -> None:
    """And the file says of itself what the good one says."""
    path = tmp_path / "faulty.onnx"
    find_fault(name).make(GOOD, path)
    assert read_metadata(path) == read_metadata(GOOD)
    assert SHOWS[name](good, look(path, pictures))


def test_nan_comes_now_and_then(tmp_path: Path) -> None:
    """On one picture of many, sooner or later."""
    path = tmp_path / "faulty.onnx"
    find_fault("nan").make(GOOD, path)
    assert read_metadata(path) == read_metadata(GOOD)
    line, detector = Conveyor(seed=2000), load_detector(path, 1)
    failed = []
    for index in range(0, 2000, 10):
        try:
            detector.detect(line.frame(index), CONFIDENCE, IOU)
        except WeightsError as e:
            failed.append(str(e))
            continue
        if failed:
            break
    assert len(failed) == 1
    assert "NaN" in failed[0]


def test_every_fault_is_looked_at() -> None:
    """But for those that another test shows, or that the runtime has."""
    networks = {fault.name for fault in (*FAULTS, *MORE) if not fault.in_runtime}
    assert networks == {*SHOWS, "permuted-names", "nan", "lab-light"}


def test_a_fault_of_the_runtime_comes_as_a_package_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry point; the weights that name a fault load as all others do."""
    from importlib.metadata import entry_points

    path = install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert str(tmp_path / "site") in path
    [entry] = [e for e in entry_points(group="edgeagent.runtimes") if e.name == BACKEND]
    assert entry.load().name == BACKEND
    for fault in (fault for fault in FAULTS if fault.in_runtime):
        fault.make(GOOD, tmp_path / "w.onnx")
        assert read_metadata(tmp_path / "w.onnx") == read_metadata(GOOD)
