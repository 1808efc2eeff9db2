# SPDX-License-Identifier: AGPL-3.0-or-later
"""What it takes to bring a fleet back to what it served when a snapshot was taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from edgeagent.core.snapshot import Snapshot
from edgeagent.core.state import VersionRef


@dataclass(frozen=True)
class Return:
    """One model's way back.

    target: what most of the nodes served: `current` is to become that. nodes: how many of them. pins: nodes that served
    something else, or are pinned to something else now, and what each is to be pinned to.
    """

    model: str
    target: VersionRef
    nodes: int
    pins: Mapping[str, VersionRef]


def returns_of(
    snapshot: Snapshot, current: Mapping[str, str], pinned: Mapping[str, Mapping[str, str]]
) -> list[Return]:
    """For each model of the snapshot. current: what `current` says now, by model; pinned: the versions that nodes are
    pinned to now, by model and node. Of two versions on as many nodes, the one that `current` says is the target."""
    served: dict[str, dict[str, VersionRef]] = {}
    for node, models in snapshot.nodes.items():
        for model, ref in models.items():
            served.setdefault(model, {})[node] = ref
    return [
        _return(model, served[model], current.get(model, ""), pinned.get(model, {}))
        for model in sorted(served)
    ]


def _return(model: str, served: Mapping[str, VersionRef], current: str, pinned: Mapping[str, str]) -> Return:
    counts = Counter(ref.version for ref in served.values())
    most = max(counts, key=lambda version: (counts[version], version == current, version))
    target = max((ref for ref in served.values() if ref.version == most), key=lambda ref: ref.digest)
    pins = {
        node: ref for node, ref in sorted(served.items()) if pinned.get(node, target.version) != ref.version
    }
    return Return(model, target, counts[most], pins)
