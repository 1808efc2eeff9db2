# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pairs of a model, offered to the folder of the version that is on trial."""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.core.lifecycle import Stage
from edgeagent.core.pairs import FramePair
from edgeagent.core.state import State, VersionRef
from edgeagent.serving.frame import Frame
from edgeagent.update.disagreements import ComparedVersion, Disagreements

Trial = tuple[VersionRef, VersionRef]
"""The incumbent and the candidate of a comparison."""


def trial_of(state: State) -> Trial | None:
    """Which two versions are compared now: what serves on probation with the version before; else a candidate in SHADOW
    with what serves; None: no two are."""
    c, active, standby = state.candidate, state.active, state.standby
    if active and standby and state.stage is Stage.PROBATION:
        return standby, active
    if active and c and c.stage is Stage.SHADOW:
        return active, VersionRef(c.goal.version, c.digest)
    return None


class PairPictures:
    """Of one model. On the event loop's thread."""

    def __init__(
        self,
        state: Callable[[], State],
        names_of: Callable[[VersionRef], tuple[str, ...]],
        folder_of: Callable[[ComparedVersion, ComparedVersion], Disagreements | None],
    ) -> None:
        """names_of: the classes of a version that is loaded, as its boxes are numbered; folder_of: where pictures of a
        comparison go, incumbent first."""
        self._state, self._names_of, self._folder_of = state, names_of, folder_of
        self._trial: Trial | None = None
        self._folder: Disagreements | None = None

    def offer(self, pair: FramePair, frame: Frame) -> None:
        """A pair and its frame, which is held if it becomes a picture."""
        trial = trial_of(self._state())
        if trial != self._trial:
            self._trial, self._folder = trial, self._open(trial) if trial else None
        if self._folder:
            self._folder.offer(pair, frame)

    def _open(self, trial: Trial) -> Disagreements | None:
        incumbent, candidate = trial
        names = self._names_of(incumbent)
        # What the incumbent doesn't know is numbered behind its last (`core.pairs`).
        return self._folder_of(
            ComparedVersion(incumbent.version, names),
            ComparedVersion(candidate.version, (*names, *self._names_of(candidate))),
        )
