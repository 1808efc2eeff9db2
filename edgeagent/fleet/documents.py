# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is said of a fleet to machines: the JSON of `nodes` and `rollout status`, which GET /api/fleet has, too."""

from __future__ import annotations

import json
from typing import Any

from edgeagent.core.fleet_nodes import Node, Nodes
from edgeagent.core.rollout import Rollout
from edgeagent.core.rollout_document import encode_rollout
from edgeagent.core.rollout_progress import Progress
from edgeagent.util.codec import to_json


def nodes_document(nodes: Nodes) -> dict[str, Any]:
    """{nodes, idle}: an object for each model on each node, with the fields of its report."""
    return {"nodes": [_node(row) for row in nodes.rows], "idle": list(nodes.idle)}


def progress_document(model: str, progress: Progress) -> dict[str, Any]:
    """Where a roll-out of a model stands."""
    return {"model": model, **to_json(progress), "rollout": rollout_document(progress.rollout)}


def rollout_document(rollout: Rollout) -> Any:
    """A roll-out as it stands in the config store."""
    return json.loads(encode_rollout(rollout))


def _node(row: Node) -> dict[str, Any]:
    doc = to_json(row)
    report = doc.pop("report") or {}
    return {**report, **doc, "reports": row.report is not None}
