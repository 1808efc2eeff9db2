# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node might say, for tests of the page: a line that is well and one whose camera is lost, a version in shadow,
alarms in every state, a roll-out in its second wave. Names hold what would be HTML."""

from __future__ import annotations

from typing import Any

from tests.support.pretended_page import PretendedNode

NOW = 1.8e9
EVIL = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>'
"""As text it is odd, as HTML it runs."""


def pipeline(state: str = "running", why: str = "") -> dict[str, Any]:
    """A pipeline's part of the status."""
    return {
        "state": state, "why": why, "since": NOW - 500, "last_error": "", "model": "yolo", "live": True,
        "width": 640, "height": 360, "pid": 1, "restarts": 0, "fps": 25.0, "captured": 1000, "frames": 990,
        "dropped": 10, "dropped_by": {"busy": 10}, "latency_ms": {"p50": 12.1, "p99": 31.0},
        "sinks": {"written": 1, "lost": 0, "queued": 0, "behind": False, "errors": {}, "each": []},
    }  # fmt: skip


def class_pairs(name: str, lost: int) -> dict[str, Any]:
    """What two versions made of a class."""
    return {
        "name": name, "agreed": 120, "lost": lost, "gained": 4, "moved": 1, "renamed": 0, "weaker": 12,
        "stronger": 3, "score_shift": -0.031,
    }  # fmt: skip


def shadow() -> dict[str, Any]:
    """Of a candidate that waits for its approval."""
    pairs = {
        "frames": 2410, "with_objects": 1730, "unanswered": 2, "incumbent_unanswered": 0, "objects": 214, "split": 0,
        "classes": [class_pairs("scratch", 9), class_pairs(EVIL, 0)], "evidence": 1.7, "needed": 3.0,
        "incumbent": {"p50_ms": 11.2, "p95_ms": 19.0}, "candidate": {"p50_ms": 14.8, "p95_ms": 25.1},
    }  # fmt: skip
    return {
        "against": "v1", "waits_for": "approval", "at": "now", "approved_by": None, "seconds_left": None,
        "shortfall": None, "breach": None, "pairs": pairs,
    }  # fmt: skip


def model() -> dict[str, Any]:
    """A model whose next version is in shadow."""
    active = {
        "version": "v1", "digest": "sha256:" + "a" * 64, "engine": "onnxruntime cpu fp32", "input": [640, 640],
        "ready": True, "tried": [], "tuning": "settled", "epoch": 3, "gates": [], "withdrawn": None,
    }  # fmt: skip
    candidate = {
        "version": "v2", "digest": "sha256:" + "b" * 64, "stage": "SHADOW", "attempt": 1,
        "seconds": {"fetching": 1.2}, "error": None, "retry_in_seconds": None, "gates": [], "shadow": shadow(),
    }  # fmt: skip
    return {
        "aspired": "v2", "tag": None, "active": active, "standby": None, "held": None, "state": "SHADOW",
        "candidate": candidate, "rebuild": None, "preload": None, "probation": None, "draining": [], "previous": [],
        "rejected": [], "last_error": EVIL, "failing": None, "sentinel": None, "rollout": None,
    }  # fmt: skip


def status() -> dict[str, Any]:
    """`/api/status`."""
    return {
        "node": "press-07", "instance": "a", "labels": {"line": "a"}, "pid": 1, "started": NOW - 9000,
        "config_store": {"url": "etcd://10.0.0.1", "connected": True, "why": None}, "intent_sources": [],
        "model_store": {"url": "/store"}, "models": {"yolo": model()},
        "pipelines": {"line-1": pipeline(), "line-2": pipeline("lost", f"no picture for 10 s {EVIL}")},
        "workers": [], "disk_error": None, "id_conflict": None, "fleet": None, "audit_head": None,
    }  # fmt: skip


def alarm(id: str, **changes: Any) -> dict[str, Any]:
    """One of /api/alarms."""
    return {
        "id": id, "rule": "scratches", "pipeline": "line-1", "model": None, "kind": "count", "severity": "warning",
        "state": "raised", "active": True, "raised_at": NOW - 130, "cleared_at": None, "acknowledged_by": None,
        "acknowledged_at": None, "shelved_until": None, "shelved_by": None, "shelved_reason": None,
        "closed_at": None, "closed_why": None, "count": 3, "text": f"5 times scratch within 60 s {EVIL}",
        "todo": "Look at the roller after station 3; clean it.", "own_text": True, "own_todo": True,
        "figures": {"objects": 5},
        "picture": f"api/alarms/{id}/picture.jpg", "clip": None, "changed_at": NOW, "change": 2, **changes,
    }  # fmt: skip


def alarms() -> dict[str, Any]:
    """`/api/alarms`."""
    without = {"figures": {}, "picture": None, "own_text": False, "own_todo": False}
    gone = {"figures": {"state": "lost", "why": f"no picture for 10 s {EVIL}"}}
    lost = {"rule": "camera_lost", "kind": "camera_lost", "severity": "critical", "pipeline": "line-2"}
    disk = {"rule": "disk", "kind": "disk", "severity": "critical", "pipeline": None}
    rule = {"name": "scratches", "pipeline": "line-1", "kind": "count", "severity": "warning", "error": None}
    counts = {"classes": "scratch", "objects": 5, "seconds": 60.0, "corners": 4}
    return {
        "alarms": [
            alarm("a1"),
            alarm("a2", **lost, **without | gone, text="line-2 gives no pictures", count=1, raised_at=NOW - 30),
            alarm("a3", **disk, **without, state="acknowledged", acknowledged_by="Anna", acknowledged_at=NOW - 50),
            alarm("a4", severity="info", state="shelved", shelved_until=NOW + 1800, shelved_by=EVIL,
                  shelved_reason="the light is being changed"),
            alarm("a5", state="cleared", active=False, cleared_at=NOW - 40, raised_at=NOW - 5000),
        ],
        "rules": [
            {**rule, "text": "5 or more of scratch within 60 s", "figures": counts, "own_text": False},
            {**rule, "name": "dents", "text": EVIL, "own_text": True, "error": "v2 has no class dent; it has scratch"},
        ],
    }  # fmt: skip


def node_row(number: int, **changes: Any) -> dict[str, Any]:
    """One of the fleet's nodes."""
    return {
        "node": f"press-{number:02}", "model": "yolo", "present": True, "reports": True,
        "version": "v2" if number < 5 else "v1", "digest": "", "state": "STABLE", "held": "", "conflict": False,
        "before": "v1", "since": int(NOW - 3600 * number), "labels": {"hall": "north"}, "rollout": "r1",
        "phase": "stable", "why": "", "preloaded": "", "preload_refused": "", "frames": 1000, "objects": 30,
        "evidence": 0.0, "latency_ms": 21.4, "boxes": 1.2, "golden": 0.97, **changes,
    }  # fmt: skip


def fleet() -> dict[str, Any]:
    """`/api/fleet`."""
    waves = [("1", 1, True), ("25%", 4, True), ("100%", 14, False)]
    progress = {
        "model": "yolo", "summary": "wave 2 of 3 bakes: 412 s of 600 s", "fleet": 14, "nodes": 4, "stable": 3,
        "rollout": {"id": "r1", "version": "v2", "from": "v1", "status": "baking", "wave": 1, "by": "anna",
                    "cause": "advance", "why": f"waits {EVIL}", "reason": EVIL},
        "waves": [{"wave": wave, "nodes": nodes, "is_open": is_open} for wave, nodes, is_open in waves],
        "serving": 4, "pending": ["press-05"], "away": ["press-12"], "refused": {"press-13": "recall 0.41 < 0.6"},
        "failed": {}, "excused": {"press-14": "held: rollback to v1"}, "evidence": 0.3, "notes": [],
    }  # fmt: skip
    silent = node_row(12, present=False)
    refused = node_row(13, state="REJECTED", why=f"recall 0.41 < 0.6 {EVIL}")
    return {
        "leader": "press-01", "coordinating": True, "nodes": [*map(node_row, range(12)), silent, refused],
        "idle": ["press-99"], "broken": {"seg": "the value is broken JSON"}, "rollouts": [progress],
    }  # fmt: skip


def config() -> dict[str, Any]:
    """`/api/config`."""
    region = [[0.2, 0.2], [0.8, 0.2], [0.85, 0.7], [0.2, 0.8]]
    rule = {"name": "scratches", "when": "count", "classes": ["scratch"], "objects": 5, "within_seconds": 60}
    first = {
        "name": "line-1", "model": "yolo", "source": {"url": "rtsp://viewer@camera-1/stream"}, "confidence": 0.25,
        "sinks": [{"type": "jsonl", "path": "/data/line-1.jsonl"}], "alarms": [{**rule, "region": region}],
    }  # fmt: skip
    second = {"name": "line-2", "model": "yolo", "source": {"url": "/videos/line.mp4"}, "sinks": []}
    models = {"yolo": {"confidence": {"scratch": 0.4}, "region": region[:3]}}
    return {
        "revision": "abc", "path": "/etc/edgeagent/edgeagent.yaml",
        "config": {"models": models, "pipelines": [first, second]},
    }  # fmt: skip


def record(result: str, **changes: Any) -> dict[str, Any]:
    """An audit record."""
    return {
        "when": "2027-01-15T07:58:00.000Z", "event": "update", "model": "yolo", "from_version": "v1",
        "to_version": "v2", "digest": "", "who": "anna", "result": result, "source_url": "", "why": "", "stages": {},
        "gates": [], "from_digest": "", "epoch": 0, "moment": "", "watches": {}, "facts": None, "count": 1, "seq": 7,
        "hash": "", **changes,
    }  # fmt: skip


def differences() -> dict[str, Any]:
    """`/api/models/yolo/disagreements`."""
    picture = {"version": "v2", "against": "v1", "pipeline": "line-1", "summary": f"2 boxes differ {EVIL}"}
    return {
        "model": "yolo",
        "pictures": [
            {
                **picture,
                "id": f"p{n}",
                "time": NOW - 60 * n,
                "picture": f"api/models/yolo/disagreements/p{n}.jpg",
            }
            for n in range(5)
        ],
    }


def make() -> PretendedNode:
    """A node that says all this."""
    history = [record("rejected", why=f"recall of scratch 0.41 < 0.6 {EVIL}")]
    swaps = [{"t": NOW - 200, "model": "yolo", "to_version": EVIL}]
    figures = {
        "fps": [24.0, 25.0] * 300,
        "p50_ms": [8.0] * 600,
        "p95_ms": [11.0] * 600,
        "dropped": [0] * 599 + [2],
    }
    lines = {"line-1": figures, "line-2": figures}
    series = {"interval_s": 1, "start": NOW - 600, "end": NOW, "pipelines": lines, "swaps": swaps}
    return PretendedNode(
        {
            "api/status": status(),
            "api/alarms": alarms(),
            "api/fleet": fleet(),
            "api/config": config(),
            "api/history": {"history": history},
            "api/series": series,
            "api/models/yolo/disagreements": differences(),
            "api/models/yolo/versions": {"model": "yolo", "versions": [], "error": None},
        }
    )
