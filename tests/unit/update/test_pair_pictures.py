# SPDX-License-Identifier: AGPL-3.0-or-later
"""Into whose folder the pictures of a comparison go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeagent.core.lifecycle import Stage
from edgeagent.core.pairs import FramePair
from edgeagent.core.state import State, VersionRef
from edgeagent.serving.frame import Frame
from edgeagent.update.disagreements import ComparedVersion, Disagreements
from edgeagent.update.pair_pictures import PairPictures, trial_of

V1, V2, V3 = (VersionRef(f"v{n}", f"sha256:{n}") for n in (1, 2, 3))
NAMES = {V1: ("scratch", "dent"), V2: ("dent", "crack"), V3: ("scratch", "dent")}


def state(stage: Stage, standby: VersionRef | None = None, shadow: VersionRef | None = None) -> State:
    """v2 serves; another may be warm, or on its way in."""
    candidate = shadow and SimpleNamespace(
        stage=Stage.SHADOW, goal=SimpleNamespace(version=shadow.version), digest=shadow.digest
    )
    return cast("State", SimpleNamespace(active=V2, standby=standby, stage=stage, candidate=candidate))


@pytest.mark.parametrize(
    ("now", "trial"),
    [
        (state(Stage.STABLE), None),
        (state(Stage.STABLE, standby=V1), None),
        (state(Stage.PROBATION, standby=V1), (V1, V2)),
        (state(Stage.STABLE, standby=V1, shadow=V3), (V2, V3)),
        (state(Stage.PROBATION, standby=V1, shadow=V3), (V1, V2)),
    ],
)
def test_which_two_are_compared(now: State, trial: Any) -> None:
    """What serves comes first: while it is on probation, no candidate is seen beside it."""
    assert trial_of(now) == trial


def test_each_comparison_has_a_folder_of_its_own() -> None:
    """With the incumbent's class names, and for the other's boxes what the incumbent doesn't know behind them."""
    opened: list[tuple[ComparedVersion, ComparedVersion]] = []
    offered: list[tuple[int, int]] = []

    def folder_of(incumbent: ComparedVersion, candidate: ComparedVersion) -> Disagreements:
        opened.append((incumbent, candidate))
        place = len(opened)
        offer = lambda pair, frame: offered.append((place, pair.seq))  # noqa: E731
        return cast("Disagreements", SimpleNamespace(offer=offer))

    now = [state(Stage.PROBATION, standby=V1)]
    pictures = PairPictures(lambda: now[0], NAMES.__getitem__, folder_of)
    for seq, then in enumerate((now[0], now[0], state(Stage.STABLE), state(Stage.STABLE, V1, V3))):
        now[0] = then
        pair = FramePair("line-1", seq, 0.0, 640, 480, (), ())
        pictures.offer(pair, cast("Frame", None))
    assert offered == [(1, 0), (1, 1), (2, 3)]
    assert opened == [
        (ComparedVersion("v1", NAMES[V1]), ComparedVersion("v2", (*NAMES[V1], *NAMES[V2]))),
        (ComparedVersion("v2", NAMES[V2]), ComparedVersion("v3", (*NAMES[V2], *NAMES[V3]))),
    ]
