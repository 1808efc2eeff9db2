# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gate that tries a candidate on frames from the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest

from edgeagent.config.verdict import GatesConfig
from edgeagent.core.gating import ClassTerms, GateTerms
from edgeagent.core.model import Contract
from edgeagent.core.pictures import picture_stem
from edgeagent.core.tuning import Tolerance
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import UnavailableError
from edgeagent.gates.port import ActiveVersion, GateContext
from edgeagent.gates.replay import GATE, read_frames, stored_frames
from edgeagent.runtimes.detection.detector import Detector

NOW = 1_800_000_000.0
NAMES = ("scratch", "dent")
CONTRACT = Contract("detect", NAMES, (64, 64), 32)
VERSION = VerifiedVersion("yolo", "v2", "sha256:2", CONTRACT, "onnx", Path("w.onnx"))


class FakeDetector:
    """Finds an object of one class in each picture that is bright enough, at its `confidence`."""

    def __init__(self, cls: int = 0, from_grey: int = 0, names: tuple[str, ...] = NAMES) -> None:
        self.runtime = SimpleNamespace(metadata=SimpleNamespace(contract=replace(CONTRACT, names=names)))
        self._cls, self._from_grey = cls, from_grey
        self.asked: list[tuple[float, float]] = []

    def detect(self, image: Any, confidence: float, iou: float) -> Any:
        """As the real one."""
        self.asked.append((confidence, iou))
        rows = [[10, 10, 40, 40, 0.9, self._cls]] if image.mean() >= self._from_grey else []
        return SimpleNamespace(boxes=np.array(rows, np.float32).reshape(-1, 6))


def keep(folder: Path, count: int, grey: int = 100) -> Path:
    """A folder with so many frames, a second apart."""
    folder.mkdir(parents=True, exist_ok=True)
    for seq in range(count):
        image = np.full((48, 64, 3), grey, np.uint8)
        cv2.imwrite(str(folder / f"{picture_stem(NOW + seq, seq)}.jpg"), image)
    return folder


def context(
    folder: Path, candidate: FakeDetector, active: FakeDetector | None = None, **limits: float
) -> GateContext:
    """A candidate beside what serves."""
    active = active or FakeDetector()
    thresholds = GatesConfig().limits({"replay": {"min_frames": 30, **limits}})
    terms = GateTerms(CONTRACT, confidence=0.4, iou=0.6, limits=thresholds, replay=(folder,))
    return GateContext(
        VERSION,
        terms,
        None,
        Tolerance(),
        load=lambda: cast("Detector", candidate),
        see_frames=list,
        active=ActiveVersion("v1", lambda: cast("Detector", active)),
    )


def test_a_version_that_finds_the_same_passes(tmp_path: Path) -> None:
    """At the pipelines' own confidence and IoU; it says how far it is."""
    candidate, active = FakeDetector(), FakeDetector()
    asked = context(keep(tmp_path / "line-1", 40), candidate, active)
    steps: list[tuple[int, int]] = []
    asked.on_progress = lambda done, total: steps.append((done, total))
    result = GATE.run(asked)
    assert (result.passed, result.reasons) == (True, ())
    assert (result.figures["frames"], result.figures["objects"]) == (40, 40)
    assert result.limits["frames"] == 30
    assert set(candidate.asked) == set(active.asked) == {(0.4, 0.6)}
    assert steps == [(n, 40) for n in range(1, 41)]


def test_one_that_is_blind_is_refused(tmp_path: Path) -> None:
    """With its figures."""
    result = GATE.run(context(keep(tmp_path / "line-1", 40), FakeDetector(from_grey=255)))
    assert not result.passed
    assert "lost 40 of 40 objects" in result.failure
    assert result.figures["emptied"] == 40


def test_classes_are_compared_by_name(tmp_path: Path) -> None:
    """The directive may let them come in another order; a class that the active version hasn't is another."""
    folder = keep(tmp_path / "line-1", 40)
    assert GATE.run(context(folder, FakeDetector(1, names=("dent", "scratch")))).passed
    assert not GATE.run(context(folder, FakeDetector(0, names=("dent", "scratch")))).passed
    assert "something else" in GATE.run(context(folder, FakeDetector(0, names=("crack", "dent")))).failure


def test_a_class_that_may_go_is_not_lost(tmp_path: Path) -> None:
    """Where the directive says so; nothing is told of a version that knows no other."""
    asked = context(keep(tmp_path / "line-1", 40), FakeDetector(0, names=("dent",)))
    assert "something else" in GATE.run(asked).failure
    asked = context(tmp_path / "line-1", FakeDetector(0, from_grey=255, names=("dent",)), FakeDetector(1))
    asked.terms = replace(asked.terms, classes=ClassTerms("extend", dropped=("scratch",)))
    assert "lost 40 of 40" in GATE.run(asked).failure
    asked.active = context(tmp_path, FakeDetector()).active
    assert "0 objects on 40 frames, which are too few" in GATE.run(asked).failure


def test_versions_without_a_common_class_are_not_compared(tmp_path: Path) -> None:
    """Where the operator lets it have a contract of its own: else nothing new would ever come in."""
    asked = context(tmp_path / "line-1", FakeDetector())
    asked.version = replace(VERSION, contract=replace(CONTRACT, names=("crack",)))
    assert GATE.applies(asked)
    asked.terms = replace(asked.terms, allow_new_contract=True)
    assert not GATE.applies(asked)


def test_too_few_frames_are_a_trouble_that_passes(tmp_path: Path) -> None:
    """No pass, and nothing against the version; nothing is loaded for it."""
    asked = context(keep(tmp_path / "line-1", 29), FakeDetector())
    asked.load = asked.active.load = cast("Any", None)  # type: ignore[union-attr]
    with pytest.raises(UnavailableError, match="29 recent frames are too few to tell, 30 are needed"):
        GATE.run(asked)
    assert GATE.run(context(tmp_path / "line-1", FakeDetector(), min_frames=29, min_objects=29)).passed


def test_no_folder_is_no_frames(tmp_path: Path) -> None:
    """The camera has sent nothing yet."""
    with pytest.raises(UnavailableError, match="0 recent frames"):
        GATE.run(context(tmp_path / "nowhere", FakeDetector()))


def test_damaged_pictures_are_removed_and_left_out(tmp_path: Path) -> None:
    """What a power cut left, or somebody else; what has no picture's name is none of ours."""
    folder = keep(tmp_path / "line-1", 33)
    cut, empty, other = sorted(folder.glob("*.jpg"))[:3]
    cut.write_bytes(cut.read_bytes()[:-20])
    empty.write_bytes(b"")
    other.write_bytes(b"\xff\xd8 no picture \xff\xd9")
    (folder / "notes.txt").write_text("mine")
    result = GATE.run(context(folder, FakeDetector()))
    assert (result.passed, result.figures["frames"]) == (True, 30)
    assert len(list(folder.iterdir())) == 31
    with pytest.raises(UnavailableError):
        GATE.run(context(folder, FakeDetector(), min_frames=31))


def test_frames_come_evenly_from_all_cameras(tmp_path: Path) -> None:
    """As many of each as there are, up to how many are looked at."""
    folders = keep(tmp_path / "a", 50), keep(tmp_path / "b", 4), tmp_path / "c"
    chosen = stored_frames(folders, 14)
    assert [p.parent.name for p in chosen].count("b") == 4
    assert len(chosen) == 14
    assert len(list(read_frames(chosen))) == 14


def test_it_applies_where_frames_are_kept_and_something_serves(tmp_path: Path) -> None:
    """Else there is nothing to compare, or nothing to compare on."""
    asked = context(tmp_path, FakeDetector())
    assert GATE.applies(asked)
    assert not GATE.applies(replace(asked, active=None))
    assert not GATE.applies(replace(asked, terms=replace(asked.terms, replay=())))


def test_what_it_judges_by_is_part_of_what_is_remembered() -> None:
    """Other thresholds are another question."""
    terms = GateTerms(limits=GatesConfig().limits({}), replay=(Path("a"),))
    other = replace(terms, limits=GatesConfig().limits({"replay": {"lost": 0.1}}))
    assert GATE.inputs(terms) != GATE.inputs(other)
    assert GATE.inputs(terms) != GATE.inputs(replace(terms, replay=()))
    assert GATE.inputs(terms) != GATE.inputs(replace(terms, active_digest="sha256:1"))
    none = replace(terms, replay=())
    assert GATE.inputs(none) == GATE.inputs(replace(none, active_digest="sha256:1"))
