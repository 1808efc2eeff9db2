# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node can be told: every section and field, with its default and its limits."""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
)

from edgeagent.config.alarms import MAX_RULES, AlarmsConfig, RuleConfig, no_clash
from edgeagent.config.api import ApiConfig
from edgeagent.config.fleet import FleetConfig
from edgeagent.config.judge import JudgeConfig
from edgeagent.config.models import ModelConfig
from edgeagent.config.names import Name
from edgeagent.config.source import SourceConfig
from edgeagent.config.verdict import (
    DisagreementsConfig,
    GatesConfig,
    ProbationConfig,
    RecentFramesConfig,
    SentinelConfig,
    ShadowConfig,
    SwitchConfig,
)
from edgeagent.core.detection_settings import AS_FOUND, DetectionSettings
from edgeagent.errors import UsageError
from edgeagent.intent.port import Access, Tls
from edgeagent.intent.url import TAKEN, Taken, find_adapter, parse_source_url
from edgeagent.notify.config import Receivers
from edgeagent.runtimes.registry import broken_plugins, runtime, runtimes
from edgeagent.sinks.delivery import StoringConfig
from edgeagent.sinks.port import SinkConfig
from edgeagent.sinks.registry import sink_names, sink_type
from edgeagent.util.settings import Fraction, Megabytes, Seconds, Section, TlsConfig

_T = TypeVar("_T")


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError(f"{value!r} is not a device; allowed: auto, cpu, cuda, cuda:<number>")
    return value


def _backend(value: str) -> str:
    if value != "auto" and runtime(value) is None:
        why = broken_plugins().get(value, "is not a runtime")
        allowed = ", ".join(row.name for row in runtimes())
        raise ValueError(f"{value!r} {why}; allowed: auto, {allowed}")
    return value


class NodeConfig(Section):
    """Who this node is, and where it keeps what must survive a restart."""

    id: Name = Field(
        default_factory=lambda: re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()).strip(".-") or "node"
    )
    labels: dict[str, str] = Field(default={})
    state_dir: Path = Path("/var/lib/edgeagent")


class IntentSourceConfig(Section):
    """Where the operator's intent is written, and how to get in. options: of the client, by kind of source."""

    url: str
    username: str | None = None
    password_file: Path | None = Field(default=None, validate_default=True)
    tls: TlsConfig | None = None
    options: dict[str, str | int | float | bool] = Field(default={}, repr=False)

    def access(self) -> Access:
        """What an adapter needs beside the URL."""
        tls = Tls(**dict(self.tls)) if self.tls else None
        return Access(self.username or "", self.password_file, tls, self.options)

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        try:
            parse_source_url(url)
        except UsageError as e:
            raise ValueError(f"{e.why}; {e.todo}") from e
        return url

    @field_validator("password_file")
    @classmethod
    def _both_or_none(cls, password_file: Path | None, info: ValidationInfo) -> Path | None:
        if (password_file is None) != (info.data.get("username") is None):
            raise ValueError(
                "only one of the two is given; allowed: username and password_file together, or neither"
            )
        return _taken("login", password_file, info)

    @field_validator("tls")
    @classmethod
    def _tls(cls, tls: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        return _taken("tls", tls, info)

    @field_validator("options")
    @classmethod
    def _options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return _taken("options", options, info)


def _taken(what: Taken, value: _T, info: ValidationInfo) -> _T:
    """The value, if the kind of source takes such a thing."""
    if value and (url := info.data.get("url")) and what not in (adapter := find_adapter(url)).takes:
        raise ValueError(f"{adapter.kind} takes no {TAKEN[what]}; allowed: nothing")
    return value


class ConfigStoreConfig(IntentSourceConfig):
    """The first source of intent; what `edgeagent promote` and presence write to."""

    url: str = "file:///etc/edgeagent/intent"


class ModelStoreConfig(Section):
    """Where versions come from: a folder, or any URL that fsspec opens.

    timeout_seconds: limit of one request. min_bytes_per_second: on average over pace_seconds; a store that gives
    less is left, and tried again later. storage_options: passed to the fsspec file system as they are.
    """

    url: str = Field(default="/var/lib/edgeagent/store", min_length=1)
    trusted_keys: list[Path] = Field(default=[])
    timeout_seconds: Seconds = 20.0
    min_bytes_per_second: float = Field(default=1000.0, ge=0, allow_inf_nan=False)
    pace_seconds: Seconds = 60.0
    storage_options: dict[str, Any] = Field(default={}, repr=False)

    @field_validator("trusted_keys")
    @classmethod
    def _not_yet(cls, keys: list[Path]) -> list[Path]:
        if keys:
            raise ValueError(
                "this release does not check signatures, and will not pretend to; allowed: an empty list"
            )
        return keys


class ParityConfig(Section):
    """How alike a converted model must be to its source weights: IoU of the boxes, difference of the scores."""

    iou: Fraction = 0.9
    score: Fraction = 0.02


class EngineConfig(Section):
    """How engine workers infer.

    backend: auto tries what is installed and takes the fastest that finds what the source weights find.

    threads: of one engine worker; 0 shares all cores but one between the models, at least one each.
    max_batch: frames of several pipelines that are inferred together, where the weights allow it.
    memory_limit_mb, hang_seconds: a worker that takes more memory, or longer for one frame, is killed and
    started again.
    """

    backend: Annotated[str, AfterValidator(_backend)] = "auto"
    device: Annotated[str, AfterValidator(_device)] = "auto"
    threads: int = Field(default=0, ge=0, le=256)
    max_batch: int = Field(default=1, ge=1, le=64)
    memory_limit_mb: Megabytes = 4096
    hang_seconds: Seconds = 10.0
    parity: ParityConfig = ParityConfig()


def _sink_type(name: str) -> str:
    if not name:
        raise ValueError(f"is missing; allowed: {', '.join(sink_names())}")
    return sink_type(name).name


class _AnySink(BaseModel):
    type: Annotated[str, AfterValidator(_sink_type)] = Field(default="", validate_default=True)


def _sink(value: object) -> object:
    """A sink's fields are those of its type, which another package may have brought."""
    if isinstance(value, SinkConfig):
        return value
    return sink_type(_AnySink.model_validate(value).type).config.model_validate(value)


Sink = Annotated[SerializeAsAny[SinkConfig], BeforeValidator(_sink)]


class PipelineConfig(Section):
    """One line: a source, the model that looks at it, where detections go, and which of them raise an alarm."""

    name: Name
    model: Name
    source: SourceConfig
    confidence: Fraction = 0.25
    iou: Fraction = 0.45
    sinks: list[Sink] = Field(default=[])
    alarms: Annotated[list[RuleConfig], AfterValidator(no_clash)] = Field(default=[], max_length=MAX_RULES)


class UpdateConfig(Section):
    """Limits of an update.

    max_concurrent: updates that are prepared at a time, over all models; the others wait for their turn.
    keep_versions: in the local cache. fetch_seconds: without progress. convert_seconds: of converting and
    measuring one variant. gate_seconds, load_seconds: of the gates, of loading a candidate. retry_seconds: until a
    failure that may pass is tried again. settle_seconds: from when a tuning result of a short look is there until it is
    confirmed. spare_worker: an empty engine worker waits for the next version all the time.
    mode: stop-start lets a version that has no room beside the one that serves come in its place: that one is stopped
    first, and nothing serves until the other has loaded.
    golden: by model, the labelled pictures of this site: a data.yaml, or a folder with images/ and labels/.
    """

    mode: Literal["beside", "stop-start"] = "beside"
    golden: dict[Name, Path] = Field(default={})
    gates: GatesConfig = GatesConfig()
    recent_frames: RecentFramesConfig = RecentFramesConfig()
    disagreements: DisagreementsConfig = DisagreementsConfig()
    shadow: ShadowConfig = ShadowConfig()
    probation: ProbationConfig = ProbationConfig()
    sentinel: SentinelConfig = SentinelConfig()
    switch: SwitchConfig = SwitchConfig()
    judge: JudgeConfig = JudgeConfig()
    max_concurrent: int = Field(default=1, ge=1, le=64)
    keep_versions: int = Field(default=3, ge=1, le=1000)
    fetch_seconds: Seconds = 60.0
    gate_seconds: Seconds = 60.0
    convert_seconds: Seconds = 300.0
    load_seconds: Seconds = 120.0
    retry_seconds: Seconds = 30.0
    candidate_memory_mb: Megabytes = 4096
    settle_seconds: float = Field(default=60.0, ge=0, le=31_536_000, allow_inf_nan=False)
    spare_worker: bool = True


class LogConfig(Section):
    """The node's log on stderr. format: auto is console on a terminal and json elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Config(Section):
    """Everything a node is told at its start. Every field has a default."""

    node: NodeConfig = Field(default_factory=NodeConfig)
    config_store: ConfigStoreConfig = ConfigStoreConfig()
    intent_sources: list[IntentSourceConfig] = Field(default=[])
    model_store: ModelStoreConfig = ModelStoreConfig()
    engine: EngineConfig = EngineConfig()
    pipelines: list[PipelineConfig] = Field(default=[])
    models: dict[Name, ModelConfig] = Field(default={})
    update: UpdateConfig = UpdateConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    notify: Receivers = Field(default=[])
    fleet: FleetConfig = FleetConfig()
    api: ApiConfig = ApiConfig()
    log: LogConfig = LogConfig()

    def detections(self, model: str) -> DetectionSettings:
        """What counts as a detection of a model."""
        settings = self.models[model].settings() if model in self.models else AS_FOUND
        return AS_FOUND if settings == AS_FOUND else settings

    @field_validator("intent_sources")
    @classmethod
    def _each_once(cls, sources: list[IntentSourceConfig], info: ValidationInfo) -> list[IntentSourceConfig]:
        first = info.data.get("config_store")
        urls = [s.url for s in (*([first] if first else []), *sources)]
        if twice := sorted({url for url in urls if urls.count(url) > 1}):
            raise ValueError(f"{twice[0]} is given twice; allowed: each source once, config_store included")
        return sources

    @field_validator("fleet")
    @classmethod
    def _has_leases(cls, fleet: FleetConfig, info: ValidationInfo) -> FleetConfig:
        store = info.data.get("config_store")
        if fleet.coordinate and store and not find_adapter(store.url).leases:
            why = f"coordinate: nobody can lead through {store.url}"
            raise ValueError(f"{why}; allowed: true with a config_store in etcd or ZooKeeper")
        return fleet

    @field_validator("pipelines")
    @classmethod
    def _no_clash(cls, pipelines: list[PipelineConfig]) -> list[PipelineConfig]:
        found = clashes([p.model_dump(mode="json") for p in pipelines])
        if found:
            raise ValueError(" | ".join(found))
        return pipelines


def clashes(pipelines: object) -> list[str]:
    """Pipelines of one name, and sinks that write to one file or queue. Takes what is there, right or wrong."""
    names: dict[str, int] = {}
    files: dict[str, str] = {}
    problems = []
    for i, pipeline in enumerate(pipelines if isinstance(pipelines, list) else []):
        if not isinstance(pipeline, dict):
            continue
        name = pipeline.get("name")
        if isinstance(name, str) and names.setdefault(name, i) != i:
            problems.append(
                f"pipelines[{i}].name: {name!r} is taken by pipelines[{names[name]}]; allowed: unique names"
            )
        sinks = pipeline.get("sinks")
        queues: dict[str, str] = {}
        for j, sink in enumerate(sinks if isinstance(sinks, list) else []):
            path = sink.get("path") if isinstance(sink, dict) else None
            here = f"pipelines[{i}].sinks[{j}].path"
            if path is not None and files.setdefault(os.path.normpath(str(path)), here) != here:
                taken = files[os.path.normpath(str(path))]
                problems.append(f"{here}: {str(path)!r} is written by {taken} too; allowed: one file a sink")
            queue = _queue_of(sink)
            here = f"pipelines[{i}].sinks[{j}].name"
            if queue and queues.setdefault(queue, here) != here:
                problems.append(f"{here}: {queue!r} is that of {queues[queue]}; allowed: a name for each")
    return problems


def _queue_of(sink: object) -> str:
    """The name of its queue on the disk; "" if it has none."""
    if isinstance(sink, dict):
        kind, name = str(sink.get("type")), sink.get("name")
        with suppress(ValueError):
            if issubclass(sink_type(kind).config, StoringConfig):
                return str(name or kind)
    return ""
