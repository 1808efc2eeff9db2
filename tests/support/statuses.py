# SPDX-License-Identifier: AGPL-3.0-or-later
"""A status in which every field has something to say, for tests of what shows and carries it."""

from __future__ import annotations

from edgeagent.core.state import VersionRef
from edgeagent.core.tuning import Parity, Trial
from edgeagent.status.rollout_schema import RolloutStatus
from edgeagent.status.schema import (
    ActiveEngine,
    CandidateStatus,
    ConfigStoreStatus,
    FetchProgress,
    Held,
    IntentSourceStatus,
    LatencyStatus,
    LoadedEngine,
    ModelStatus,
    ModelStoreStatus,
    Outcome,
    PipelineStatus,
    PreloadStatus,
    RejectedVersion,
    SinksStatus,
    Status,
    WorkerStatus,
)

TRIALS = [
    Trial("onnxruntime-cpu-fp32", 8.25, "", Parity(8, 20, 0, 0, 0.99, 0.004)),
    Trial("torch-cpu", None, "no"),
]
HELD = Held(kind="rollback", version="v1", by="eve", reason="dark pictures", until="the intent changes")


def loaded(version: str) -> LoadedEngine:
    """A version in an engine worker."""
    return LoadedEngine(
        version=version,
        digest=f"sha256:{version}",
        engine="onnxruntime-cpu",
        input=(384, 640),
        ready=True,
        tried=TRIALS,
        tuning="settled",
    )


def a_model() -> ModelStatus:
    """A model with a version in each role."""
    return ModelStatus(
        aspired="v2",
        tag="stable",
        active=ActiveEngine(**dict(loaded("v1")), epoch=3, withdrawn="finds no dents (eve)"),
        standby=loaded("v0"),
        held=HELD,
        state="FETCHING",
        candidate=CandidateStatus(
            version="v4",
            digest="sha256:v4",
            stage="FETCHING",
            attempt=2,
            seconds={"fetching": 1.25},
            error="the store is away",
            retry_in_seconds=None,
            waits="for its turn: labels is being updated; place 1 of 1",
            gate="smoke",
            trial="torch-cpu",
            fetch=FetchProgress(file="w.onnx", bytes=1, of=2, resumed_from=0),
        ),
        preload=PreloadStatus(version="v5", stage="ASPIRED", ready=False, why="v4 comes first"),
        previous=[VersionRef("v0", "sha256:v0")],
        rejected=[
            RejectedVersion(version="v2", digest="sha256:v2", stage="GATING", why="class names differ")
        ],
        last_error="disk full",
        failing="v1 keeps failing: NaN; there is no version before it on this node",
        rollout=RolloutStatus(
            id="r7",
            version="v4",
            status="rolling",
            wave=1,
            is_in=True,
            phase="begun",
            why=None,
            leader=True,
            orphaned=False,
        ),
    )


def a_pipeline(busy: int = 1) -> PipelineStatus:
    """A line that runs. busy: frames that it dropped for want of time."""
    return PipelineStatus(
        state="running",
        why="",
        since=1767225600.0,
        last_error="it was away",
        model="yolo",
        live=True,
        width=1280,
        height=720,
        pid=4710,
        restarts=1,
        fps=29.97,
        captured=10,
        frames=9,
        dropped=busy,
        dropped_by={"busy": busy},
        latency_ms=LatencyStatus(p50=8.0, p99=9.5),
        sinks=SinksStatus(written=9, lost=0, queued=0, behind=False, errors={"/x.jsonl": "disk full"}),
    )


def a_status(busy: int = 1) -> Status:
    """A node with one model and one camera; busy: as in `a_pipeline`."""
    return Status(
        node="n1",
        labels={"hall": "3"},
        pid=4700,
        started=1767225600.0,
        config_store=ConfigStoreStatus(url="file:///x", connected=True, why=None),
        intent_sources=[
            IntentSourceStatus(url="file:///x", connected=True, why=None, kind="folder", decides=["yolo"]),
            IntentSourceStatus(url="zk://h:1", connected=False, why="refused", kind="ZooKeeper", decides=[]),
        ],
        model_store=ModelStoreStatus(url="file:///models"),
        models={"yolo": a_model()},
        pipelines={"line-1": a_pipeline(busy)},
        workers=[
            WorkerStatus(pid=4710, kind="capture", pipeline="line-1", memory_bytes=1 << 20),
            WorkerStatus(pid=4711, kind="engine", model="yolo", version="v1", memory_bytes=1 << 20),
        ],
        disk_error="read-only",
    )


def an_outcome(model: str = "yolo", active: str = "v1") -> Outcome:
    """A roll-back that was done."""
    return Outcome(model=model, from_version="v2", to=active, state="STABLE", active=active, held=HELD)
