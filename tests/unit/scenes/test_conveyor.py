# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rendered line: repeatable, random access, and a ground truth that matches the pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgeagent.scenes import conveyor
from edgeagent.scenes.carton import MISSING_LABEL, Carton, draw, plan
from edgeagent.scenes.conveyor import CLASSES, VISIBLE_FRACTION, Conveyor, Truth


def truths(line: Conveyor, frames: range) -> list[Truth]:
    """All truths of these frames."""
    return [truth for index in frames for truth in line.truth(index)]


def test_a_frame_depends_on_seed_and_index_only() -> None:
    """Whatever was rendered before, the same index gives the same pixels."""
    one, other = Conveyor(seed=5), Conveyor(seed=5)
    for index in (400, 3, 90):
        other.frame(index)
    assert np.array_equal(one.frame(77), other.frame(77))
    assert one.truth(77) == other.truth(77)


def test_another_seed_is_another_line() -> None:
    """Seeds differ in pixels and in parts."""
    assert not np.array_equal(Conveyor(seed=1).frame(50), Conveyor(seed=2).frame(50))
    assert truths(Conveyor(seed=1), range(0, 300, 30)) != truths(Conveyor(seed=2), range(0, 300, 30))


def test_renders_into_the_given_buffer() -> None:
    """`out` is filled in place and returned; a wrong one is refused."""
    line = Conveyor(width=320, height=180)
    out = np.zeros((180, 320, 3), np.uint8)
    assert line.frame(10, out) is out
    assert np.array_equal(out, line.frame(10))
    with pytest.raises(ValueError, match="must be"):
        line.frame(10, np.zeros((180, 320), np.uint8))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (1280, 720), (333, 251), (2400, 200)])
def test_any_frame_size(width: int, height: int) -> None:
    """The scene fills frames of odd, small and wide sizes, and boxes stay inside them."""
    line = Conveyor(seed=9, width=width, height=height)
    assert line.frame(123).shape == (height, width, 3)
    for truth in truths(line, range(0, 900, 15)):
        x0, y0, x1, y1 = truth.xyxy
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height


def test_refuses_what_it_cannot_render() -> None:
    """Tiny frames, no frame rate and negative indices are refused by value."""
    with pytest.raises(ValueError, match="64 pixels"):
        Conveyor(width=20)
    with pytest.raises(ValueError, match="fps above 0"):
        Conveyor(fps=0)
    with pytest.raises(ValueError, match="0 or more"):
        Conveyor().frame(-1)


def test_every_class_and_tiny_defects_occur() -> None:
    """Half a minute of the line shows each class, tiny and not."""
    seen = {(t.cls, t.tiny) for t in truths(Conveyor(seed=0), range(0, 2700, 10))}
    assert seen == {(0, False), (0, True), (1, False), (1, True), (MISSING_LABEL, False)}
    assert len(CLASSES) == 3


def test_parts_pass_once_from_left_to_right() -> None:
    """A defect enters on the left, moves right and leaves; its box keeps its size while inside."""
    line = Conveyor(seed=4)
    chosen = next(t for t in truths(line, range(300)) if t.part > 4)
    path = [t.xyxy for t in truths(line, range(900)) if (t.part, t.xyxy[1]) == (chosen.part, chosen.xyxy[1])]
    lefts = [box[0] for box in path]
    assert lefts == sorted(lefts)
    assert path[0][0] < 60
    assert path[-1][2] > 580
    inside = [box[2] - box[0] for box in path if box[0] > 0 and box[2] < 640]
    assert max(inside) - min(inside) < 1e-6


def test_a_box_counts_once_enough_of_it_is_inside() -> None:
    """At the edges a defect is true from the visible fraction on, and clipped to the frame."""
    line = Conveyor(seed=4)
    narrow: dict[tuple[int, int, float], float] = {}
    widest: dict[tuple[int, int, float], float] = {}
    for truth in truths(line, range(900)):
        key = (truth.part, truth.cls, truth.xyxy[1])
        width = truth.xyxy[2] - truth.xyxy[0]
        narrow[key] = min(width, narrow.get(key, width))
        widest[key] = max(width, widest.get(key, 0.0))
    assert any(narrow[key] < 0.95 * widest[key] for key in narrow)
    assert all(narrow[key] >= VISIBLE_FRACTION * widest[key] - 1e-6 for key in narrow)


def test_the_box_lies_where_the_pixels_differ() -> None:
    """A carton drawn with and without one defect differs in the defect's box only, and fills it."""
    checked = 0
    for part in range(60):
        carton = plan(7, part)
        if len(carton.defects) == 1 and carton.defects[0].cls != MISSING_LABEL:
            checked += 1
            _check_box(carton)
    assert checked > 10


def _check_box(carton: Carton) -> None:
    sound = draw(dataclasses.replace(carton, defects=()), 1.0, 0.0)
    faulty = draw(carton, 1.0, 0.0)
    rows, cols = np.nonzero(np.abs(faulty.colour.astype(int) - sound.colour).max(axis=2) > 12)
    x0, y0, x1, y1 = carton.boxes()[0][1]
    cx, cy = faulty.centre
    assert cols.min() + 1 >= cx + x0 - 1.5
    assert cols.max() <= cx + x1 + 1.5
    assert rows.min() + 1 >= cy + y0 - 1.5
    assert rows.max() <= cy + y1 + 1.5
    assert cols.max() - cols.min() + 1 > 0.45 * (x1 - x0)


def test_light_changes_and_the_sensor_is_noisy() -> None:
    """The same empty corner is brighter and darker over time, and never twice the same."""
    line = Conveyor(seed=2)
    corners = [line.frame(index)[16:42, :40].astype(float) for index in range(0, 600, 20)]
    means = np.array([corner.mean() for corner in corners])
    assert np.ptp(means) / means.mean() > 0.08
    assert not np.array_equal(line.frame(1)[16:42, :40], line.frame(2)[16:42, :40])


def test_sprites_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run keeps only the recent cartons."""
    monkeypatch.setattr(conveyor, "_SPRITES", 5)
    line = Conveyor(seed=1, width=160, height=90)
    for index in range(0, 3000, 25):
        line.frame(index)
    assert len(line._sprites) == 5
