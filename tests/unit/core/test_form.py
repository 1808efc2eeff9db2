# SPDX-License-Identifier: AGPL-3.0-or-later
"""The form in which a version serves, and what it lacks for the frames that come."""

from __future__ import annotations

import pytest

from edgeagent.core.form import Form, FrameSizes
from edgeagent.core.model import Contract
from edgeagent.core.tuning import Tuning

CONTRACT = Contract("detect", ("scratch",), (320, 320), 32)
WIDE, HIGH = (720, 1280), (1280, 720)


def seen(*sizes: tuple[int, int], complete: bool = True) -> FrameSizes:
    """Frames of these sizes came."""
    return FrameSizes(frozenset(sizes), complete)


@pytest.mark.parametrize(
    ("form", "frames", "lacks"),
    [
        (Form(CONTRACT, (192, 320)), seen(WIDE), ""),
        (Form(CONTRACT, (192, 320)), seen(), ""),
        (Form(CONTRACT, None), seen(WIDE), ""),
        (Form(CONTRACT, (320, 320)), seen(WIDE), "its input is 320×320, the frames need 320×192"),
        (Form(CONTRACT, (192, 320)), seen(WIDE, HIGH), "its input is 320×192, the frames need 320×320"),
        (Form(CONTRACT, (320, 320)), seen(WIDE, complete=False), ""),
        (Form(CONTRACT, (192, 320)), seen(HIGH, complete=False), "its input is 320×192, the frames need 192×320"),
        (Form(CONTRACT, None, tuning=Tuning.UNCONVERTED), seen(), "it serves as it was published"),
        (Form(CONTRACT, (192, 320), tuning=Tuning.UNCONVERTED), seen(WIDE), "it serves as it was published"),
        (Form(CONTRACT, (192, 320), tuning=Tuning.PROVISIONAL), seen(WIDE), "its tuning result is provisional"),
        (
            Form(CONTRACT, (192, 320), tuning=Tuning.PROVISIONAL),
            seen(HIGH),
            "its input is 320×192, the frames need 192×320",
        ),
    ],
    ids=[
        "made for them", "no frames yet", "of one size for ever", "larger than need be", "too small for some",
        "a camera that sent nothing yet may need it", "too small whatever that one sends", "as published",
        "as published, of the right size", "chosen from a short look", "made for other frames, and provisional",
    ],
)  # fmt: skip
def test_what_a_version_lacks(form: Form, frames: FrameSizes, lacks: str) -> None:
    """Said in words that go into the history."""
    assert form.lacks(frames) == lacks
    assert form.misfit(frames) == ("" if "provisional" in lacks else lacks)
