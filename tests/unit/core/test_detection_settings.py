# SPDX-License-Identifier: AGPL-3.0-or-later
"""What counts as a detection: limits by class, a region, a size, whatever classes a version has."""

from __future__ import annotations

import pytest

from edgeagent.core.detection_settings import AS_FOUND, DetectionSettings
from edgeagent.core.regions import Region

NAMES = ("dent", "scratch", "hole")
SIZE = (100, 200)
RIGHT = Region(((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)))


def box(cls: int, confidence: float, at: float = 10.0, side: float = 10.0) -> tuple[float, ...]:
    """A square; `at`: of its left upper corner, on both axes."""
    return (at, at, at + side, at + side, confidence, float(cls))


LOW, DENT, SCRATCH, HOLE = box(0, 0.1), box(0, 0.35), box(1, 0.35), box(2, 0.3)
RIGHT_ONE, LARGE = box(0, 0.9, at=60.0), box(1, 0.9, at=0.0, side=50.0)
ALL = (LARGE, RIGHT_ONE, SCRATCH, DENT, HOLE, LOW)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (AS_FOUND, ALL),
        (DetectionSettings(confidence=(("dent", 0.5),)), (LARGE, RIGHT_ONE, SCRATCH, HOLE)),
        (DetectionSettings(confidence=(("dent", 0.1),)), ALL),
        (
            DetectionSettings(confidence=(("dent", 0.1), ("hole", 0.31))),
            (LARGE, RIGHT_ONE, SCRATCH, DENT, LOW),
        ),
        (DetectionSettings(confidence=(("rust", 0.9),)), (LARGE, RIGHT_ONE, SCRATCH, DENT, HOLE)),
        (DetectionSettings(region=RIGHT), (RIGHT_ONE,)),
        (DetectionSettings(min_size=0.1), (LARGE,)),
        (DetectionSettings(min_size=0.125), (LARGE,)),
        (DetectionSettings(min_size=0.126), ()),
        (DetectionSettings(min_size=0.004, region=RIGHT, confidence=(("dent", 0.95),)), ()),
    ],
)
def test_what_counts(settings: DetectionSettings, kept: tuple[tuple[float, ...], ...]) -> None:
    """In the order in which it was found; the pipeline's own limit is that of classes without one."""
    assert settings.kept(ALL, NAMES, SIZE, 0.2) == kept  # type: ignore[arg-type]


def test_another_version_may_have_its_classes_in_another_order() -> None:
    """Limits go by name."""
    settings = DetectionSettings(confidence=(("dent", 0.5),))
    found = (box(0, 0.4), box(1, 0.4))
    assert settings.kept(found, ("dent", "scratch"), SIZE, 0.2) == found[1:]  # type: ignore[arg-type]
    assert settings.kept(found, ("scratch", "dent"), SIZE, 0.2) == found[:1]  # type: ignore[arg-type]
    assert settings.unknown(("scratch",)) == ["dent"]
    assert settings.unknown(("scratch", "dent")) == []


@pytest.mark.parametrize(
    ("own", "floor"), [((), 0.25), ((("dent", 0.1), ("hole", 0.6)), 0.1), ((("hole", 0.6),), 0.25)]
)
def test_the_engine_finds_all_that_may_count(own: tuple[tuple[str, float], ...], floor: float) -> None:
    """The lowest that is wanted: never above the pipeline's own, which counts for all other classes."""
    assert DetectionSettings(confidence=own).floor(0.25) == floor
