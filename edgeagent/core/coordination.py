# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a coordinator has to say of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeagent.core.leader import Leader
from edgeagent.core.rollout import Rollout


@dataclass(frozen=True)
class Coordination:
    """What it is about now.

    leads: whether it does; leader: who does, where that is known. rollouts: by model, those under their keys as it saw
    them last, while it leads; broken: by model, why one can't be carried on. failure: why the config store can't be
    asked, "" while it can.
    """

    leads: bool = False
    leader: Leader | None = None
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""

    def in_words(self) -> str:
        """In a sentence: "leads; yolo: 20261128-101500-3f2a to v7 is rolling, wave 2 of 4"."""
        if self.failure:
            return f"no answer: {self.failure}"
        if not self.leads:
            return (
                f"waits: {self.leader.host} (pid {self.leader.pid}) leads"
                if self.leader
                else "waits for the lead"
            )
        said = [f"{model}: {_in_words(rollout)}" for model, rollout in sorted(self.rollouts.items())]
        said += [f"{model}: can't be carried on: {why}" for model, why in sorted(self.broken.items())]
        return "leads; " + ("; ".join(said) or "there is no roll-out")


def _in_words(rollout: Rollout) -> str:
    said = f"{rollout.id} to {rollout.plan.version} is {rollout.status}"
    if rollout.wave >= 0:
        said += f", wave {rollout.wave + 1} of {len(rollout.plan.waves)}"
    return said + (f" ({rollout.why})" if rollout.why else "")
