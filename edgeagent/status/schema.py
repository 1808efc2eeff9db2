# SPDX-License-Identifier: AGPL-3.0-or-later
"""The form of what a node says: one schema for the API, OpenAPI, the command line and the demo.

The presence key holds a part of it (summary.py). docs/interface.md ("Status") lists the same fields; a test compares
the two. A field that a later release adds gets a default, so that its clients read the answer of an older node; what a
client doesn't know, it leaves aside. States and kinds are plain texts for the same reason: a newer node may have more
of them.
"""

from __future__ import annotations

import json
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field

from edgeagent.core.gating import GateResult
from edgeagent.core.pairs import PairSummary
from edgeagent.core.receipts import ChainReport
from edgeagent.core.state import VersionRef
from edgeagent.core.tuning import Trial
from edgeagent.observe.audit import AuditRecord
from edgeagent.status.config_status import ConfigStatus
from edgeagent.status.fleet_status import FleetStatus
from edgeagent.status.part import StatusPart
from edgeagent.status.rollout_schema import RolloutStatus

T = TypeVar("T")
_Sometimes = Annotated[T | None, Field(exclude_if=lambda value: value is None)]
"""A field that is left out where it doesn't apply, rather than null."""


class ConfigStoreStatus(StatusPart):
    """The config store, and whether it can be reached."""

    url: str
    connected: bool
    why: str | None
    """Why it can't be reached, or what is wrong with it even so; null while all is well."""


class IntentSourceStatus(ConfigStoreStatus):
    """One of the sources of intent."""

    kind: str
    """Such as etcd, ZooKeeper, Kafka, folder."""
    decides: list[str]
    """The models whose intent comes from here."""


class ModelStoreStatus(StatusPart):
    """Where versions come from."""

    url: str


class LoadedEngine(StatusPart):
    """A version that is loaded in an engine worker."""

    version: str
    digest: str
    engine: str
    """The way in which it runs here: runtime, device, precision."""
    input: tuple[int, int]
    """Height and width that frames are scaled to, pixels."""
    ready: bool
    """False while its worker is being restarted."""
    tried: list[Trial]
    """The ways to run it that were measured here, the source weights first; milliseconds a frame."""
    tuning: str = "settled"
    """unconverted: as it was published, until it is known what is fastest; provisional: chosen from a short look, or on
    a busy machine, and to be confirmed beside the line; settled."""


class ActiveEngine(LoadedEngine):
    """The version that serves."""

    epoch: int
    """Grows by one at each swap on this node, also over restarts."""
    gates: list[GateResult] = Field(default=[])
    """What the gates found when it passed them."""
    withdrawn: str | None = None
    """Why it was withdrawn in the model store, and by whom, as far as that was seen; it goes on."""


class Held(StatusPart):
    """An intent made on this node: it counts until the config store's own intent changes."""

    kind: str
    """rollback or promote"""
    version: str
    by: str
    reason: str
    until: str


class FetchProgress(StatusPart):
    """The file that is being fetched, in bytes."""

    file: str
    bytes: int
    of: int
    resumed_from: int


class ShadowStatus(StatusPart):
    """A version that is loaded beside the one that serves."""

    against: str
    """The version that it is compared with."""
    waits_for: str
    """approval, frames (it has not seen enough) or moment."""
    at: str
    """The moment at which it is to come in: now, between-parts or window."""
    approved_by: str | None
    seconds_left: float | None
    """Until it waits no longer, where that is known."""
    shortfall: str | None
    """What the pairs don't suffice for."""
    breach: str | None = None
    """What they say against it, where that is only told."""
    pairs: PairSummary | None
    """What both versions saw until now."""


class ProbationStatus(StatusPart):
    """The watch over a version that was swapped in."""

    against: str | None
    """The version before, which is warm; null: there is none."""
    seconds_left: float
    longer: bool
    """It goes on, for too little was seen."""
    shortfall: str | None
    breach: str | None = None
    """What the pairs say against it, where that is only told."""
    pairs: PairSummary | None


class GateProgress(StatusPart):
    """How many of the pictures, or of what else it goes through, a gate has behind it."""

    done: int
    of: int


class CandidateStatus(StatusPart):
    """A version on its way in."""

    version: str
    digest: str | None
    """Null until its manifest is read."""
    stage: str
    attempt: int
    seconds: dict[str, float]
    """Spent in each stage until now, by its name in lower case."""
    error: str | None
    """Why the last attempt failed, if it is tried again."""
    retry_in_seconds: float | None
    waits: _Sometimes[str] = None
    """What it waits for before the work on it begins: its turn, or its moment in a roll-out."""
    gate: _Sometimes[str] = None
    """The gate that it is in."""
    gate_progress: _Sometimes[GateProgress] = None
    trial: _Sometimes[str] = None
    """The way to run it that is being measured."""
    fetch: _Sometimes[FetchProgress] = None
    gates: list[GateResult] = Field(default=[])
    """What the gates have found so far."""
    shadow: _Sometimes[ShadowStatus] = None


class PreloadStatus(StatusPart):
    """A version that is made ready ahead, without serving."""

    version: str
    stage: str
    """Up to GATING while it is worked on, ASPIRED while that waits; READY, or REJECTED."""
    ready: bool
    """An update to it finds everything done, up to loading it."""
    why: str | None
    """Why it waits, was refused or need not be made ready."""


class RejectedVersion(StatusPart):
    """A version that was refused under the intent in force."""

    version: str
    digest: str
    stage: str
    why: str


class SentinelStatus(StatusPart):
    """The golden pictures through the engine that serves, now and then."""

    at: float | None
    """Of the last replay, Unix seconds; null before the first."""
    first_at: float | None
    """Of the one that it is compared with."""
    figures: dict[str, float]
    """Of the last comparison: pictures, objects, missing, extra, most_score, differing (pictures); empty before."""
    why: str | None
    """The drift, or why no replay came about; null for neither."""


class ModelStatus(StatusPart):
    """One model: what should serve, what does, what waits, and why."""

    aspired: str | None
    tag: str | None = None
    """By which it was named when the intent was written."""
    active: ActiveEngine | None
    standby: LoadedEngine | None
    held: Held | None
    state: str
    """The candidate's stage if there is one; else REJECTED, PROBATION, STABLE or ASPIRED."""
    candidate: CandidateStatus | None
    rebuild: CandidateStatus | None = None
    """The version that serves on its way to a better form, beside it; version, digest and epoch stay."""
    preload: PreloadStatus | None = None
    """The version that is made ready ahead."""
    probation: ProbationStatus | None = None
    draining: list[VersionRef] = Field(default=[])
    """Engines that were swapped out and finish the frames that they have."""
    previous: list[VersionRef]
    """Versions that became stable here, oldest first, without the active one."""
    rejected: list[RejectedVersion]
    last_error: str | None
    failing: str | None = None
    """Why the version that serves keeps failing, while it does."""
    sentinel: SentinelStatus | None = None
    """Whether this machine still gives the results that it gave; null while nobody looks."""
    rollout: RolloutStatus | None = None
    """The roll-out in force, whether the node is in or not; null while there is none."""
    unknown_classes: list[str] = Field(default=[])
    """Classes that the settings of the model name, and the version that serves doesn't have."""


class LatencyStatus(StatusPart):
    """Milliseconds from capture to result, over the last frames; null before the first."""

    p50: float | None
    p99: float | None


class SinkStatus(StatusPart):
    """One sink, in records."""

    sink: str
    """Its name: the file, the address."""
    type: str
    lossless: bool
    written: int
    lost: int
    queued: int
    behind: bool
    error: str | None


class SinksStatus(StatusPart):
    """The sinks of a pipeline, in records; sums over all."""

    written: int
    lost: int
    queued: int
    behind: bool
    errors: dict[str, str]
    """Why a sink can't be written now, by its name."""
    each: list[SinkStatus] = Field(default=[])
    """Each by itself."""


class PipelineStatus(StatusPart):
    """One camera, its model and its sinks."""

    state: str
    why: str
    since: float
    last_error: str
    model: str
    live: bool
    width: int
    height: int
    pid: int | None
    """Of the capture worker."""
    restarts: int
    fps: float
    """Frames captured a second."""
    captured: int
    frames: int
    """Frames with a result."""
    dropped: int
    dropped_by: dict[str, int]
    latency_ms: LatencyStatus
    sinks: SinksStatus


class WorkerStatus(StatusPart):
    """A process that works for the node."""

    pid: int
    kind: str
    """capture, engine, prepare, spare, pictures, preview or clips"""
    pipeline: _Sometimes[str] = None
    model: _Sometimes[str] = None
    version: _Sometimes[str] = None
    memory_bytes: int
    cpu_seconds: float = 0.0
    """Processor time since it began."""


class NotifyStatus(StatusPart):
    """One receiver of alarms and updates, in messages."""

    receiver: str
    type: str
    delivered: int
    """Since the node started."""
    waiting: int
    lost: int
    error: str | None
    """Why nothing arrives now."""


class Status(StatusPart):
    """What runs on a node, since when and why. Times are Unix seconds."""

    node: str
    instance: str = ""
    """Made at random when the process began: it tells two processes apart that have the same node id."""
    labels: dict[str, str]
    pid: int
    started: float
    config_store: ConfigStoreStatus
    intent_sources: list[IntentSourceStatus] = Field(default=[])
    """All of them, in the order in which they decide; the first is the config store."""
    model_store: ModelStoreStatus
    models: dict[str, ModelStatus]
    pipelines: dict[str, PipelineStatus]
    workers: list[WorkerStatus]
    notify: list[NotifyStatus] = Field(default=[])
    """Who is told of alarms and updates."""
    disk_error: str | None
    """Why state or audit log could not be written last."""
    id_conflict: str | None = None
    """Another process has this node's id, too."""
    fleet: FleetStatus | None = None
    """The roll-outs that it leads, or would; null on a node that leads none."""
    audit_head: str | None = None
    """Number and hash of the last record in `audit.jsonl`: who keeps it elsewhere can prove that nobody wrote the log
    anew up to there."""
    config: ConfigStatus | None = None
    """The configuration in force; null from a node of an earlier release."""


class History(StatusPart):
    """What happened on a node: audit records, oldest first."""

    history: list[AuditRecord]


class HistoryCheck(StatusPart):
    """What became of the audit log since it was written."""

    intact: bool
    """Whether every record is as it was, and where it was. It doesn't prove that nobody wrote a whole new log: that
    shows by a head that is kept elsewhere."""
    logs: dict[str, ChainReport]
    """Of each chain, by the name of its file."""


class Readiness(StatusPart):
    """Whether frames are being served, and why not."""

    ready: bool
    why: str


class Outcome(StatusPart):
    """What a roll-back or a promotion on this node led to; the rest shows in the status."""

    model: str
    from_version: str | None = Field(serialization_alias="from")
    to: str | None
    state: str
    active: str | None
    held: Held | None


def to_json(value: BaseModel) -> str:
    """`value` as JSON text. Not-a-number becomes null, and characters that are no Unicode become question marks."""
    try:
        return value.model_dump_json(by_alias=True, warnings=False)
    except ValueError:  # text that is no Unicode, such as the name of a picture in Latin-1
        text = json.dumps(value.model_dump(by_alias=True, warnings=False), ensure_ascii=False).encode(
            "utf-8", "replace"
        )
        return json.dumps(json.loads(text, parse_constant=lambda _: None))
