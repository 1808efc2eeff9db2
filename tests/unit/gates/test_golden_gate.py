# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `golden`: which sets judge, on which terms, what is kept of it, and what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edgeagent.config.verdict import GatesConfig
from edgeagent.core.gating import GateTerms
from edgeagent.core.golden import Box, GoldenObject
from edgeagent.core.model import Contract
from edgeagent.core.tuning import Tolerance
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import UnavailableError, WeightsError
from edgeagent.gates import golden, precision
from edgeagent.gates.golden_memory import load_sightings
from edgeagent.gates.port import ActiveVersion, GateContext, GateResult
from tests.support.golden import golden_set, labels
from tests.support.weights import NAMES, SIZE

CONTRACT = Contract("detect", NAMES, (SIZE, SIZE), 32)
VERSION = VerifiedVersion("yolo", "v2", "sha256:2", CONTRACT, "onnx", Path("/w.onnx"))


class PaperDetector:
    """Finds the classes `cls` in the middle of every picture, but for each `blind`-th; counts what it is shown."""

    def __init__(self, *classes: int, names: Sequence[str] = NAMES, blind: int = 0, error: str = "") -> None:
        self.runtime = SimpleNamespace(
            metadata=SimpleNamespace(contract=replace(CONTRACT, names=tuple(names)))
        )
        self.seen = 0
        self._classes, self._blind, self._error = classes, blind, error

    def detect(self, image: Any, confidence: float, iou: float) -> Any:
        self.seen += 1
        if self._error:
            raise WeightsError("output of the network", self._error)
        sees = not (self._blind and self.seen % self._blind == 0)
        a, b = SIZE * 3 / 8, SIZE * 5 / 8
        rows = [(a, a, b, b, 0.9, cls) for cls in self._classes if sees]
        return SimpleNamespace(boxes=np.array(rows, np.float32).reshape(-1, 6))


def context(
    candidate: PaperDetector,
    active: PaperDetector | None = None,
    published: Path | None = None,
    folder: Path | None = None,
    **terms: Any,
) -> GateContext:
    """A version on trial. published: the set that came with it."""

    def load(detector: PaperDetector) -> Any:
        return lambda: cast("Any", detector)

    limits = GatesConfig().limits({"golden": terms.pop("limits", {})})
    files = {p.relative_to(published).as_posix(): p for p in published.rglob("*.*")} if published else {}
    return GateContext(
        VERSION,
        GateTerms(CONTRACT, limits=limits, **terms),
        None,
        Tolerance(),
        load=load(candidate),
        see_frames=tuple,
        active=ActiveVersion("v1", load(active)) if active else None,
        folder=folder,
        golden=files,
    )


def run(found: GateContext) -> GateResult:
    """What the gate says, where it applies."""
    assert golden.GATE.applies(found)
    return golden.GATE.run(found)


def test_without_a_set_it_does_not_apply() -> None:
    """Unless the directive asks for it: then there is a clear refusal."""
    assert not golden.GATE.applies(context(PaperDetector(0)))
    asked = run(context(PaperDetector(0), asked=("golden",)))
    assert not asked.passed
    assert "the directive asks for it, and there is no golden set" in asked.failure


def test_pictures_without_labels_are_no_set() -> None:
    """As an earlier release published them: forms of the weights are compared on them, nothing else."""
    bare = replace_golden(context(PaperDetector(0)), {"a.png": Path("a.png")})
    assert not golden.GATE.applies(bare)


def replace_golden(found: GateContext, files: Mapping[str, Path]) -> GateContext:
    """With other files from the store."""
    found.golden = files
    return found


def test_a_good_version_passes_with_its_figures(tmp_path: Path) -> None:
    """Figures and limits under the same names."""
    result = run(context(PaperDetector(0), PaperDetector(0), golden_set(tmp_path, 20, 0)))
    assert result.passed, result.failure
    figures = result.figures
    assert (figures["pictures"], figures["objects"], figures["recall.scratch"]) == (20, 20, 1)
    assert (figures["lost"], figures["gained"], figures["classes_not_shown"]) == (0, 0, 2)
    assert (result.limits["recall.scratch"], result.limits["objects_of_a_class"]) == (0.3, 12)


def test_a_blind_version_is_refused_by_both_sets(tmp_path: Path) -> None:
    """That of who made it, and that of this site; each is named."""
    own, site = golden_set(tmp_path / "own", 20, 0), golden_set(tmp_path / "site", 30, 0)
    result = run(context(PaperDetector(), PaperDetector(0), own, golden=site))
    assert not result.passed
    assert result.reasons[0].startswith("class 'scratch': 0 of 20 objects found")
    assert any(why.startswith("on this site's pictures: class 'scratch': 0 of 30") for why in result.reasons)
    assert (result.figures["recall.scratch"], result.figures["site.recall.scratch"]) == (0, 0)
    assert result.limits["site.recall.scratch"] == 0.3


def test_site_set_refuses_what_its_maker_passes(tmp_path: Path) -> None:
    """Both must pass."""
    own, site = golden_set(tmp_path / "own", 20, 0), golden_set(tmp_path / "site", 20, 1)
    result = run(context(PaperDetector(0), None, own, golden=site))
    assert [why for why in result.reasons if "site's" not in why] == []
    assert "on this site's pictures: class 'dent': 0 of 20" in result.failure


def test_thresholds_of_the_directive(tmp_path: Path) -> None:
    """Tightened and loosened by name."""
    own = golden_set(tmp_path, 30, 0)
    assert run(context(PaperDetector(0, blind=3), None, own)).passed
    tight = run(context(PaperDetector(0, blind=3), None, own, limits={"min_recall": 0.9}))
    assert "recall 0.667 is below min_recall 0.9" in tight.failure
    assert run(context(PaperDetector(), None, own, limits={"min_recall": 0})).passed


def test_half_of_what_serves_finds_is_lost(tmp_path: Path) -> None:
    """The floor is kept, and yet it is refused, with the figures of both."""
    result = run(context(PaperDetector(0, blind=2), PaperDetector(0), golden_set(tmp_path, 30, 0)))
    assert "class 'scratch': 15 of 30 objects lost that the active version finds, 0 gained" in result.failure


def test_what_serves_is_measured_once(tmp_path: Path) -> None:
    """And again when the set, or the way of looking, has changed."""
    own, active = golden_set(tmp_path / "set", 20, 0), PaperDetector(0)
    found = [context(PaperDetector(0), active, own, tmp_path / "kept") for _ in range(2)]
    assert [run(each).figures["lost"] for each in found] == [0, 0]
    assert active.seen == 20
    assert run(context(PaperDetector(0, blind=2), active, own, tmp_path / "kept")).figures["lost"] == 10
    run(context(PaperDetector(0), active, own, tmp_path / "kept", confidence=0.5))
    assert active.seen == 40
    (own / "labels/0000.txt").write_text(labels(0, 0, box=(0.5, 0.5, 0.3, 0.3)))


@pytest.mark.parametrize("damage", [b"", b"[1]", b"{", b"[" * 100_000])
def test_what_was_kept_and_is_damaged_is_measured_anew(tmp_path: Path, damage: bytes) -> None:
    """A power cut may have taken it."""
    own, active = golden_set(tmp_path / "set", 20, 0), PaperDetector(0)
    run(context(PaperDetector(0), active, own, tmp_path / "kept"))
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(damage)
    assert run(context(PaperDetector(0), active, own, tmp_path / "kept")).passed
    assert active.seen == 40


def test_without_comparison_nothing_is_asked_of_what_serves(tmp_path: Path) -> None:
    """p_value 0."""
    active = PaperDetector(0)
    result = run(
        context(PaperDetector(0, blind=2), active, golden_set(tmp_path, 30, 0), limits={"p_value": 0})
    )
    assert (result.passed, active.seen) == (True, 0)


def test_classes_are_told_by_name(tmp_path: Path) -> None:
    """In any order; a class that the set shows and the weights don't have is an error that names both."""
    own = golden_set(tmp_path, 20, 0)
    other = PaperDetector(2, names=("label", "dent", "scratch"))
    assert run(context(other, PaperDetector(0), own)).passed
    result = run(context(PaperDetector(0, names=("hole",)), None, own))
    assert "shows 'scratch', which the version doesn't know" in result.failure
    assert "the version 'hole'" in result.failure


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("images/0003.png", b"text", "0003.png: can't be opened as a picture"),
        ("labels/0003.txt", b"0 1 2 3 4", "0003.txt: line 1"),
        ("data.yaml", b"val: [", "data.yaml: line 1: broken YAML"),
        ("must_find.yaml", b"- {picture: x, class: dent}", "entry 1: 'x' is no picture of the set"),
    ],
)
def test_a_broken_set_is_no_pass(tmp_path: Path, file: str, content: bytes, why: str) -> None:
    """Refused, and named, whether it came with the version or lies here."""
    broken = golden_set(tmp_path, 20, 0)
    (broken / file).write_bytes(content)
    for found in (context(PaperDetector(0), None, broken), context(PaperDetector(0), golden=broken)):
        result = run(found)
        assert not result.passed
        assert why in result.failure


def test_a_site_set_that_is_away_or_changes_is_a_trouble_that_passes(tmp_path: Path) -> None:
    """A disk that isn't mounted says nothing of the version."""
    with pytest.raises(UnavailableError, match="is not there"):
        run(context(PaperDetector(0), golden=tmp_path / "away"))
    site = golden_set(tmp_path / "site", 20, 0)
    with pytest.raises(UnavailableError, match="changed while"):
        run(context(PaperDetector(0), golden=site, golden_digest="another"))
    assert run(context(PaperDetector(0), golden=site, golden_digest=golden.digest_of(site))).passed


def test_numbers_that_are_none_are_refused_with_the_picture(tmp_path: Path) -> None:
    """NaN on one of many pictures; and whose it is."""
    own = golden_set(tmp_path, 20, 0)
    result = run(context(PaperDetector(0, error="NaN"), None, own))
    assert "the version, on 0000.png: output of the network: NaN" in result.failure
    result = run(context(PaperDetector(0), PaperDetector(0, error="NaN"), own))
    assert "the active version, on 0000.png" in result.failure


def test_too_slow_is_said_with_what_would_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds a picture: known after a few, not after all."""
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(golden.time, "monotonic", lambda: float(next(clock)))
    result = run(context(PaperDetector(0), None, golden_set(tmp_path, 200, 0)))
    assert "20 of 200 pictures took" in result.failure
    assert "max_seconds is 900; set golden.max_pictures to" in result.failure


def test_a_sample_of_a_large_set(tmp_path: Path) -> None:
    """Said in the figures."""
    result = run(context(PaperDetector(0), None, golden_set(tmp_path, 60, 0), limits={"max_pictures": 20}))
    assert (result.passed, result.figures["pictures"], result.figures["sample_of"]) == (True, 20, 60)


def test_it_says_how_far_it_is(tmp_path: Path) -> None:
    """Else its silence would be taken for a hang."""
    told: list[tuple[int, int]] = []
    found = context(PaperDetector(0), None, golden_set(tmp_path, 20, 0))
    found.on_progress = lambda done, total: told.append((done, total))
    run(found)
    assert (told[0], told[-1]) == ((0, 20), (20, 20))


def test_reasons_are_bounded() -> None:
    """As many as a class each, or an object that must be found, could be."""
    assert golden.shortened([str(n) for n in range(25)])[-1] == "and 5 more"


def test_passed_holds_on_the_same_terms_only() -> None:
    """Set, thresholds, confidence, IoU, and what serves."""
    terms = GateTerms(CONTRACT, limits=GatesConfig().limits({}), active_digest="1")
    others = [
        replace(terms, golden_digest="x"),
        replace(terms, active_digest="2"),
        replace(terms, confidence=0.3),
        replace(terms, iou=0.5),
        replace(terms, limits=GatesConfig().limits({"golden": {"drop": 0.3}})),
    ]
    inputs = [repr(golden.GATE.inputs(each)) for each in (terms, *others)]
    assert len(set(inputs)) == len(inputs)


def test_nothing_was_kept(tmp_path: Path) -> None:
    """Then it is measured."""
    assert load_sightings(tmp_path, "key") is None


# -- mean average precision --------------------------------------------------------------------------


def test_precision_by_hand() -> None:
    """One object found, one missed, a false box that is less sure: 51 of 101 recall points at precision 1."""
    objects = [[GoldenObject(0, (0, 0, 10, 10)), GoldenObject(0, (50, 50, 60, 60))]]
    boxes = [[Box(0, 0, 10, 10, 0.9, 0), Box(80, 80, 90, 90, 0.5, 0)]]
    found = precision.mean_average_precision(objects, boxes)
    assert found["map50"] == pytest.approx(51 / 101, abs=1e-6)
    assert found["map50_95"] == pytest.approx(51 / 101, abs=1e-6)


def test_precision_is_that_of_pycocotools() -> None:
    """On hundreds of random boxes, several classes, some pictures empty on either side."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    random = np.random.default_rng(7)
    objects, boxes = [], []
    for _ in range(40):
        corners = random.uniform(0, 200, (random.integers(0, 8), 2))
        sides = random.uniform(5, 80, corners.shape)
        classes = random.integers(0, 3, len(corners))
        objects.append(
            [
                GoldenObject(int(c), (float(x), float(y), float(x + w), float(y + h)))
                for (x, y), (w, h), c in zip(corners, sides, classes, strict=True)
            ]
        )
        found = []
        for o in objects[-1]:
            if random.random() < 0.8:
                moved = np.array(o.box) + random.normal(0, 4, 4)
                cls = o.cls if random.random() < 0.9 else (o.cls + 1) % 3
                found.append(Box(*moved.tolist(), float(random.uniform(0.05, 1)), int(cls)))
        found += [Box(300, 0, 340, 40, float(random.uniform(0, 0.6)), 1)] * int(random.integers(0, 2))
        boxes.append([b for b in found if b.x2 > b.x1 and b.y2 > b.y1])
    ours = precision.mean_average_precision(objects, boxes)

    truth = coco.COCO()
    truth.dataset = precision._truth(objects)
    truth.createIndex()
    theirs = evaluation.COCOeval(truth, truth.loadRes(precision._found(boxes)), "bbox")
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    assert ours["map50_95"] == pytest.approx(theirs.stats[0], abs=1e-6)
    assert ours["map50"] == pytest.approx(theirs.stats[1], abs=1e-6)
    assert 0.2 < ours["map50_95"] < 0.9


def test_nothing_found_at_all() -> None:
    """Zero, not an error."""
    objects = [[GoldenObject(0, (0, 0, 10, 10))]]
    assert precision.mean_average_precision(objects, [[]]) == {"map50": 0, "map50_95": 0}


def test_precision_that_is_a_threshold_needs_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said with its name; for information only, it is left out."""
    monkeypatch.setattr(precision, "is_installed", lambda: False)
    own = golden_set(tmp_path, 20, 0)
    result = run(context(PaperDetector(0), None, own))
    assert result.passed
    assert "map50" not in result.figures
    result = run(context(PaperDetector(0), None, own, limits={"min_map50": 0.5}))
    assert "install the extra: pip install 'edgeagent[evaluate]'" in result.failure


def test_precision_has_a_floor(tmp_path: Path) -> None:
    """Where one is set."""
    result = run(
        context(PaperDetector(0, blind=2), None, golden_set(tmp_path, 40, 0), limits={"min_map50": 0.9})
    )
    assert "is below min_map50 0.9" in result.failure
