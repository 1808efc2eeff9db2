# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands on a picture: boxes, names in any script, and the line below."""

from __future__ import annotations

import numpy as np
import pytest

from edgeagent.workers import lettering
from edgeagent.workers.colours import DARK, LIGHT, OF_CLASSES, colour_of, readable_on
from edgeagent.workers.lettering import can_show, put_text, text_size
from edgeagent.workers.overlay import Findings, caption, draw_findings, label, scaled

EVERYWHERE = (
    (-50.0, -50.0, 5.0, 5.0),
    (0.0, 0.0, 320.0, 192.0),
    (300.0, 180.0, 400.0, 300.0),
    (9.0, 9.0, 9.0, 9.0),
)


def found(boxes: tuple[tuple[float, ...], ...], name: str = "dent") -> Findings:
    """On a frame of 320x192."""
    of = tuple((*box, 0.9 - 0.1 * i, float(i)) for i, box in enumerate(boxes))
    return Findings("line-1", "v1", 1.8e9, of, dict.fromkeys(range(len(of)), name))  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [320, 64, 16])
def test_boxes_that_leave_the_picture_are_drawn_within_it(width: int) -> None:
    """However small it is: nothing raises, and something shows."""
    picture = scaled(np.full((192, 320, 3), 90, np.uint8), width)
    assert picture.shape == (round(192 * width / 320), width, 3)
    draw_findings(picture, found(EVERYWHERE), width / 320)
    assert (picture != 90).any()


def test_no_picture_is_enlarged_and_none_is_the_frame_itself() -> None:
    """The frame stands in memory that others read."""
    frame = np.zeros((192, 320, 3), np.uint8)
    same = scaled(frame, 1280)
    assert same.shape == frame.shape
    assert not np.shares_memory(frame, same)


@pytest.mark.parametrize("name", ["", "   ", "\u202e\x00", "\U0010fffd"])
def test_a_name_that_cannot_be_written_is_a_number(name: str) -> None:
    """A row of boxes says nothing."""
    assert label({3: name}, 3, 0.5) == "class 3 0.50"


def test_a_name_that_can_be_written_stands_there() -> None:
    """Cut, without what would turn its direction."""
    assert label({3: "dent"}, 3, 0.987) == "dent 0.99"
    assert label({3: "a\u202eb"}, 3, 0.5) == "a b 0.50"
    assert label({3: "x" * 500}, 3, 0.5) == "x" * 40 + " 0.50"
    assert label({}, 3, 0.5) == "class 3 0.50"


def test_the_first_font_that_has_all_letters_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is asked once."""
    asked = []

    def has(file: str, letters: set[str]) -> bool:
        asked.append(file)
        return file == "chinese.ttc"

    monkeypatch.setattr(lettering, "_font_files", lambda: ("latin.ttf", "chinese.ttc", "other.ttf"))
    monkeypatch.setattr(lettering, "_has", has)
    text = "划痕, which no other test writes"
    assert can_show(text)
    assert can_show(text)
    assert asked == ["", "latin.ttf", "chinese.ttc"]


def test_text_is_written_where_it_fits() -> None:
    """What lies outside is cut off."""
    width, height = text_size("dent", 20)
    assert width > 20
    assert height >= 20
    picture = np.zeros((40, 60, 3), np.uint8)
    for at in ((-1000, 0), (0, -1000), (60, 0), (0, 40)):
        put_text(picture, "dent", at, 20, LIGHT)
    assert not picture.any()
    for at in ((-10, -5), (50, 30)):
        put_text(picture, "dent", at, 20, LIGHT)
    assert picture[:20, :30].any()
    assert picture[30:, 50:].any()


def test_the_line_says_pipeline_version_and_time() -> None:
    """Where there is little room the version and the time stay."""
    pipeline, version, when = caption(found(())).split("  ·  ")
    assert (pipeline, version) == ("line-1", "v1")
    assert len(when) == len("2027-01-15 08:00:00.0")


def test_letters_stand_out_from_their_ground() -> None:
    """On each colour of a class: contrast of 4.5 and more, as WCAG asks."""
    assert readable_on(LIGHT) == DARK
    assert readable_on(DARK) == LIGHT
    assert colour_of(0) == colour_of(len(OF_CLASSES))

    def luminance(colour: tuple[int, int, int]) -> float:
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]

    for ground in OF_CLASSES:
        bright, dim = sorted((luminance(ground), luminance(readable_on(ground))), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5
