# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says of one model to the fleet: under which key, in which form.

The key lies under no lease: what a node did in a roll-out is still known when the node is gone. Every writing stays in
the config store's history, so nothing in it changes all the time: counts are told coarsely.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from edgeagent.core.model import MAX_NUMBER, check_name, parse_json
from edgeagent.core.text import clean
from edgeagent.errors import RolloutError, UsageError

REPORTS = "/edgeagent/reports/"
MAX_REPORT_BYTES = 2048
_MAX_WHY = 300


class Phase(StrEnum):
    """What a node has done in the roll-out that it follows.

    NONE: it isn't in. WAITING: it is in, and doesn't know yet that it may begin. BEGUN: it prepares the version.
    SWAPPED: the version serves on probation; STABLE: for good. REFUSED: the version never served. ROLLED_BACK: it
    served, and was taken back, by the node or by somebody, under a hold or not. EXCUSED: a pin or a hold counts on this
    node, which isn't about this version: the node doesn't follow the fleet now, in a roll-out or not.
    """

    NONE = ""
    WAITING = "waiting"
    BEGUN = "begun"
    SWAPPED = "swapped"
    STABLE = "stable"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    EXCUSED = "excused"


@dataclass(frozen=True)
class Report:
    """One model on one node.

    version, digest: that serves, "" for none; before: the version that was stable before it; state: as in the status;
    since: when the version began to serve, Unix seconds by the node's clock, 0 where that isn't known; labels: of the
    node. rollout: the id of the last one that the node followed, and phase, what it did in it; why: it was refused,
    taken back or excused. preloaded: the version that was prepared ahead; preload_refused: why it couldn't be.

    With the version that serves, since its swap: frames, and objects that pairs judged, rounded down (`coarse`);
    evidence: that it is worse, as a power of ten, rounded down, 0 where nothing is known; latency_ms: p95 of its
    frames; boxes: a frame, on the average; golden: recall on the node's golden set, -1 where none was measured.
    """

    version: str = ""
    digest: str = ""
    before: str = ""
    state: str = ""
    since: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    rollout: str = ""
    phase: Phase = Phase.NONE
    why: str = ""
    preloaded: str = ""
    preload_refused: str = ""
    frames: int = 0
    objects: int = 0
    evidence: float = 0.0
    latency_ms: float = 0.0
    boxes: float = 0.0
    golden: float = -1.0


def report_key(node: str, model: str) -> str:
    """Key of a node's report on a model."""
    return f"{REPORTS}{node}/{model}"


def node_and_model(key: str) -> tuple[str, str] | None:
    """Whose report, and on what, lies under a key; None for a key of another form."""
    parts = key.removeprefix(REPORTS).split("/")
    try:
        node, model = (check_name("name", part) for part in parts)
    except (ValueError, UsageError):
        return None
    return (node, model) if key.startswith(REPORTS) else None


def coarse(count: float) -> int:
    """A count rounded down to two binary digits, so that one that grows changes seldom: 0 1 2 3 4 6 8 12 16."""
    whole = max(0, int(count))
    unit = 1 << max(0, whole.bit_length() - 2)
    return whole // unit * unit


def encode_report(report: Report) -> bytes:
    """The value to write: what is as it is by default is left out. Texts are cut so that there is room for the rest;
    only where that isn't enough, the labels are left out, too."""
    doc = {name: value for name, value in asdict(report).items() if value != getattr(_EMPTY, name)}
    for most in (_MAX_WHY, _MAX_WHY // 4, 1):
        texts = {name: clean(doc[name], most) for name in ("why", "preload_refused") if name in doc}
        if len(encoded := _encoded(doc | texts)) <= MAX_REPORT_BYTES:
            return encoded
    return _encoded({name: value for name, value in (doc | texts).items() if name != "labels"})


def _encoded(doc: Mapping[str, Any]) -> bytes:
    """What isn't valid text, such as a part of a file's name, becomes question marks."""
    return json.dumps(doc, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def decode_report(key: str, value: bytes) -> Report:
    """What `encode_report` gave; fields that it doesn't know are left aside. Raises RolloutError."""
    todo = "see to the node that writes it, or delete the key"
    try:
        if len(value) > MAX_REPORT_BYTES:
            raise ValueError(f"of {len(value)} bytes")
        doc = parse_json(value.decode("utf-8"))
        if not isinstance(doc, dict):
            raise ValueError("no object")
        return Report(**{f.name: _parsed(f.name, doc[f.name]) for f in fields(Report) if f.name in doc})
    except (ValueError, RecursionError) as e:
        raise RolloutError(f"key {key}", f"not a report of a node ({e})", todo) from e


def _parsed(name: str, value: Any) -> Any:
    default = getattr(_EMPTY, name)
    if name == "labels":
        if not isinstance(value, dict) or not all(isinstance(t, str) for kv in value.items() for t in kv):
            raise ValueError("labels are no texts by name")
        return value
    if name == "phase":
        return Phase(value)
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ValueError(f"{name} is not text")
        return clean(value, _MAX_WHY)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
        raise ValueError(f"{name} is not a number")
    return type(default)(value)


_EMPTY = Report()
