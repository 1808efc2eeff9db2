# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node: the one place where adapters are chosen and built; what starts and stops in which order."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from edgeagent.config import Config, load_config, read_secret
from edgeagent.core.directive import Directive, current_key, decode_directive, pin_key
from edgeagent.core.events import PromoteAsked, Record, RollbackAsked, Tick, Wished, WishInvalid
from edgeagent.core.model import check_name
from edgeagent.core.reconciler import Policy
from edgeagent.core.state import Ref, State
from edgeagent.errors import ConflictError, DirectiveError, EdgeAgentError, NotFoundError, UnavailableError
from edgeagent.intent.open import open_config_store
from edgeagent.intent.port import ConfigStore, Connection, Entry, Watch
from edgeagent.observe.audit import AuditLog, AuditRecord
from edgeagent.observe.logs import setup_logging, stop_logging
from edgeagent.observe.metrics import Metrics
from edgeagent.observe.systemd import SystemdNotifier, watchdog_interval
from edgeagent.serving.engine import EngineSettings
from edgeagent.serving.memory import load_state, save_state
from edgeagent.serving.pipeline import Pipeline
from edgeagent.serving.preparation import PrepareSettings
from edgeagent.serving.updater import Updater
from edgeagent.store.cache import Cache
from edgeagent.web.app import create_app
from edgeagent.web.server import ApiServer

_log = structlog.get_logger(__name__)

_HOUSEKEEPING_S = 1.0
_PRESENCE_S = 15.0
_PRESENCE_TTL_S = 45.0
_MB = 1 << 20


def run_node(config_path: Path) -> int:
    """Run in the foreground until SIGTERM or SIGINT. Returns the exit code. Raises UsageError, UnavailableError."""
    config = load_config(config_path)
    setup_logging(config.log.level, config.log.format)
    try:
        return asyncio.run(_run(config, config_path))
    finally:
        stop_logging()


async def _run(config: Config, config_path: Path) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    node = Node(config)
    loop.add_signal_handler(signal.SIGHUP, node.reload, config_path)
    try:
        await node.start()
        await stop.wait()
    finally:
        await node.stop()
    return 0


class Node:
    """A running node: one updater a model, one pipeline a camera, one config store, one API."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.metrics = Metrics()
        self.api: ApiServer | None = None
        self.updaters: dict[str, Updater] = {}
        self.pipelines: dict[str, Pipeline] = {}
        self._started = time.time()
        self._connection = Connection(False, "not tried yet")
        self._config_store: ConfigStore | None = None
        self._watch: Watch | None = None
        self._directives: dict[str, Directive] = {}  # by key, the last that could be decoded
        self._state_dir = config.node.state_dir
        self._lock_fd = -1
        self._audit: AuditLog
        self._cache: Cache
        # One thread: what is written first is on disk first.
        self._disk = ThreadPoolExecutor(1, "disk")
        self._disk_error = ""
        self._notifier = SystemdNotifier()
        self._housekeeping: asyncio.Task[None] | None = None
        self._presence: asyncio.Task[None] | None = None
        self._shown_info: set[tuple[str, str, str, str, str]] = set()
        self._loop: asyncio.AbstractEventLoop

    # -- start and stop ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve the last known good version first; then connect to whatever else there is.

        Raises UsageError or UnavailableError when the node can't run at all: state folder, API address.
        """
        self._loop = asyncio.get_running_loop()
        self._open_state_dir()
        self._audit = AuditLog(self._state_dir)
        self._cache = Cache(self._state_dir / "cache")
        for model in sorted({p.model for p in self.config.pipelines}):
            self.updaters[model] = self._build_updater(load_state(self._state_dir / "models", model))
        for config in self.config.pipelines:
            updater = self.updaters[config.model]
            pipeline = Pipeline(config, updater.router, self.metrics, updater.forget_ring)
            self.pipelines[config.name] = pipeline
        await self._start_api()
        for updater in self.updaters.values():
            updater.handle(Tick())
        for pipeline in self.pipelines.values():
            pipeline.start()
        self._watch_intent()
        self._housekeeping = asyncio.create_task(self._keep_house())
        self._presence = asyncio.create_task(self._announce_for_ever())
        self._notifier.ready("starting")
        _log.info(
            "node started", node=self.config.node.id, api=self.api.url if self.api else None, pid=os.getpid()
        )

    async def stop(self) -> None:
        """Stop everything, in the order in which it depends on each other. Idempotent."""
        self._notifier.stopping()
        for task in (self._housekeeping, self._presence):
            if task:
                task.cancel()
        if self._watch:
            await self._loop.run_in_executor(None, self._watch.close)
        if self.api:
            await self.api.stop()
        await asyncio.gather(*(p.stop() for p in self.pipelines.values()))
        await asyncio.gather(*(u.close() for u in self.updaters.values()))
        if self._config_store:
            await self._loop.run_in_executor(None, self._config_store.close)
        self._disk.shutdown(wait=True)
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
        _log.info("node stopped", node=self.config.node.id)

    def _open_state_dir(self) -> None:
        folder = self._state_dir
        try:
            (folder / "models").mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as e:
            raise UnavailableError(
                f"state folder {folder}", str(e), "let this user write there, or set node.state_dir"
            ) from e
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise ConflictError(
                f"state folder {folder}",
                "another node runs on it",
                "stop that one, or give this one its own node.state_dir",
            ) from e

    def _build_updater(self, state: State) -> Updater:
        c = self.config
        # One core stays for the cameras and the node; the models share the others.
        models = len({p.model for p in c.pipelines})
        threads = c.engine.threads or max(1, ((os.cpu_count() or 2) - 1) // models)
        prepare = PrepareSettings(
            store_url=c.model_store.url,
            storage_options=c.model_store.storage_options,
            timeout_s=c.model_store.timeout_seconds,
            cache=self._state_dir / "cache",
            backend=c.engine.backend,
            device=c.engine.device,
            threads=threads,
            fetch_s=c.update.fetch_seconds,
            gate_s=c.update.gate_seconds,
            memory_limit=c.update.candidate_memory_mb * _MB,
        )
        engine = EngineSettings(
            backend=c.engine.backend,
            device=c.engine.device,
            threads=threads,
            memory_limit=c.engine.memory_limit_mb * _MB,
            candidate_memory_limit=c.update.candidate_memory_mb * _MB,
            hang_s=c.engine.hang_seconds,
            load_s=c.update.load_seconds,
        )
        policy = Policy(probation_s=c.update.probation.seconds, retry_max_s=c.update.retry_seconds)
        return Updater(state, policy, prepare, engine, self, recheck_s=c.update.retry_seconds)

    async def _start_api(self) -> None:
        api = self.config.api
        token = read_secret(api.token_file) if api.token_file else None
        self.api = ApiServer(create_app(self, self.metrics, token=token), api.host, api.port)
        await self.api.start()

    def reload(self, config_path: Path) -> None:
        """Take over what can change while frames flow: log, thresholds of the pipelines, probation."""
        self._notifier.reloading()
        try:
            config = load_config(config_path)
        except EdgeAgentError as e:
            _log.error("configuration not taken over, the old one stays", why=str(e))
            self._notifier.ready("configuration has mistakes, the old one stays")
            return
        setup_logging(config.log.level, config.log.format)
        for new in config.pipelines:
            pipeline = self.pipelines.get(new.name)
            if pipeline:
                pipeline.line.confidence, pipeline.line.iou = new.confidence, new.iou
        for updater in self.updaters.values():
            updater.set_probation(config.update.probation.seconds)
        _log.info(
            "configuration read again", note="log, confidence, iou and probation; the rest needs a restart"
        )
        self._notifier.ready()

    # -- intent --------------------------------------------------------------------------------------

    def _watch_intent(self) -> None:
        keys = [k for m in self.updaters for k in (current_key(m), pin_key(m, self.config.node.id))]
        c = self.config.config_store
        self._config_store = open_config_store(
            c.url, username=c.username or "", password_file=c.password_file
        )

        def in_loop(what: Any, *args: Any) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(what, *args)

        self._watch = self._config_store.watch(
            keys, lambda e: in_loop(self._entry, e), lambda c: in_loop(self._connected, c)
        )

    def _connected(self, connection: Connection) -> None:
        self._connection = connection
        self.metrics.config_store_connected(connection.connected)

    def _entry(self, entry: Entry) -> None:
        """A key as it stands. What can't be decoded is reported, and the wish before stays."""
        model = entry.key.split("/")[2]
        updater = self.updaters[model]
        pin, current = pin_key(model, self.config.node.id), current_key(model)
        if entry.value is None:
            if entry.key == pin:
                self._directives.pop(pin, None)
        else:
            try:
                self._directives[entry.key] = decode_directive(entry.key, entry.value, entry.revision)
            except DirectiveError as e:
                _log.error("intent not understood", key=entry.key, why=str(e))
                self.metrics.intent_invalid(model)
                updater.handle(WishInvalid(str(e)))
                self.record(model, Record("intent", "invalid", "config store", why=str(e)))
                return
        wish = self._directives.get(pin) or self._directives.get(current)
        if wish:
            updater.handle(Wished(wish))

    async def _announce_for_ever(self) -> None:
        """Keep this node's presence and status in the config store, under a lease."""
        assert self._config_store is not None
        key = f"/edgeagent/nodes/{self.config.node.id}"
        while True:
            if self._connection.connected:
                value = json.dumps(
                    {"labels": self.config.node.labels, "ts": time.time(), **self.status()}
                ).encode()
                try:
                    await asyncio.to_thread(self._config_store.announce, key, value, _PRESENCE_TTL_S)
                except EdgeAgentError as e:
                    _log.warning("presence not written", why=str(e))
            await asyncio.sleep(_PRESENCE_S if self._connection.connected else _HOUSEKEEPING_S)

    # -- what updaters say (UpdaterObserver) ---------------------------------------------------------

    def save(self, state: State) -> None:
        """Write a model's state, off the event loop."""
        self._on_disk(save_state, self._state_dir / "models", state)

    def record(self, model: str, record: Record) -> None:
        """Into audit log, metrics and log; a swap also makes room in the cache."""
        if record.event != "intent":
            self.metrics.swap(model, record.result)
        for stage, seconds in record.stages.items():
            self.metrics.update_stage(model, stage, seconds)
        stages = {k: round(v, 4) for k, v in record.stages.items()}
        _log.info(
            "audit",
            event_name=record.event,
            model=model,
            result=record.result,
            by=record.by,
            from_version=record.from_version,
            to_version=record.to_version,
            why=record.why,
            stages=stages,
        )
        self._on_disk(
            self._audit.append,
            AuditRecord(
                event=record.event,
                model=model,
                who=record.by,
                from_version=record.from_version,
                to_version=record.to_version,
                source_url=f"{self.config.model_store.url.rstrip('/')}/{model}/{record.to_version}"
                if record.to_version
                else "",
                digest=record.digest,
                result=record.result,
                why=record.why,
                stages=stages,
            ),
        )
        if record.result in ("swapped", "stable"):
            self._on_disk(self._cache.evict, self.config.update.keep_versions, self._protected())

    def worker_restarted(self, kind: str) -> None:
        """Count it."""
        self.metrics.worker_restart(kind)

    def _protected(self) -> set[tuple[str, str]]:
        """Versions that the cache must keep: active, standby, candidate, last known good, the one to roll back to."""
        kept: set[tuple[str, str]] = set()
        for model, updater in self.updaters.items():
            s = updater.state
            refs: list[Ref | None] = [s.active, s.standby, *s.good[-2:]]
            kept |= {(model, r.version) for r in refs if r}
            if s.candidate:
                kept.add((model, s.candidate.goal.version))
        return kept

    def _on_disk(self, write: Any, *args: Any) -> None:
        def work() -> None:
            try:
                write(*args)
                self._disk_error = ""
            except (OSError, EdgeAgentError) as e:
                self._disk_error = str(e)
                _log.error("not written to disk", why=str(e))

        self._disk.submit(work)

    # -- housekeeping --------------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        """Once a second: metrics of what only polling shows, status line, watchdog."""
        interval = watchdog_interval()
        seen: dict[str, tuple[int, int]] = {}
        fed = 0.0
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            self._show_workers()
            self._show_models()
            for name, pipeline in self.pipelines.items():
                self.metrics.pipeline_up(name, pipeline.capture.state == "running")
            self._notifier.status(self._summary())
            if (
                interval is not None
                and time.monotonic() - fed >= interval / 2
                and self._frames_progress(seen)
            ):
                fed = time.monotonic()
                self._notifier.watchdog()

    def _frames_progress(self, seen: dict[str, tuple[int, int]]) -> bool:
        """Whether no line takes frames and gives no results, although its engine is ready.

        A camera that is away and a model that isn't there yet are no hang. `seen` is the last look.
        """
        stuck = False
        for name, p in self.pipelines.items():
            engine = self.updaters[p.config.model].slot.engine
            captured, results = p.capture.frames, p.results
            before = seen.get(name, (0, 0))
            if engine and engine.ready and captured > before[0] and results == before[1]:
                stuck = True
            else:
                seen[name] = (captured, results)
        return not stuck

    def _show_workers(self) -> None:
        memory: dict[str, int] = dict.fromkeys(("capture", "engine", "prepare"), 0)
        for worker in self._workers():
            memory[worker["kind"]] += worker["memory_bytes"]
        for kind, count in memory.items():
            self.metrics.worker_memory(kind, count)

    def _show_models(self) -> None:
        info: set[tuple[str, str, str, str, str]] = set()
        for model, updater in self.updaters.items():
            for engine, role in ((updater.slot.engine, "active"), (updater.standby, "standby")):
                if engine:
                    info.add((model, engine.ref.version, engine.ref.digest, engine.name, role))
        for labels in self._shown_info - info:
            self.metrics.remove_model_info(*labels)
        for labels in info - self._shown_info:
            self.metrics.model_info(*labels)
        self._shown_info = info

    def _summary(self) -> str:
        models = ", ".join(
            f"{m} {u.state.active.version if u.state.active else 'none'} {u.status()['state']}"
            for m, u in self.updaters.items()
        )
        fps = sum(p.capture.fps for p in self.pipelines.values())
        return f"{models}; {fps:.0f} frames/s" + ("" if self._connection.connected else "; config store away")

    def _workers(self) -> list[dict[str, Any]]:
        workers: list[dict[str, Any]] = []
        for name, pipeline in self.pipelines.items():
            w = pipeline.capture.worker
            if w:
                workers.append(
                    {"pid": w.pid, "kind": "capture", "pipeline": name, "memory_bytes": w.memory_bytes()}
                )
        for model, updater in self.updaters.items():
            for engine in updater.engines:
                if engine.worker and engine.worker.alive:
                    workers.append(
                        {
                            "pid": engine.worker.pid,
                            "kind": "engine",
                            "model": model,
                            "version": engine.ref.version,
                            "memory_bytes": engine.worker.memory_bytes(),
                        }
                    )
            preparing = updater.preparation
            if preparing and preparing.worker and preparing.worker.alive:
                workers.append(
                    {
                        "pid": preparing.worker.pid,
                        "kind": "prepare",
                        "model": model,
                        "version": preparing.version,
                        "memory_bytes": preparing.worker.memory_bytes(),
                    }
                )
        return workers

    # -- what the API asks (NodeApi) -----------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """`/api/status`; see INTERFACE and docs/operating.md."""
        url = self.config.config_store.url
        return {
            "node": self.config.node.id,
            "labels": self.config.node.labels,
            "pid": os.getpid(),
            "started": self._started,
            "config_store": {
                "url": url,
                "connected": self._connection.connected,
                "why": self._connection.why or None,
            },
            "model_store": {"url": self.config.model_store.url},
            "models": {m: u.status() for m, u in self.updaters.items()},
            "pipelines": {n: p.status() for n, p in self.pipelines.items()},
            "workers": self._workers(),
            "disk_error": self._disk_error or None,
        }

    def history(self, limit: int) -> list[dict[str, Any]]:
        """The last audit records, oldest first."""
        return [vars(r) for r in self._audit.tail(limit)]

    def ready(self) -> tuple[bool, str]:
        """Whether each pipeline has given a result within the last seconds, or has come to its source's end."""
        waiting = []
        for name, p in self.pipelines.items():
            if p.capture.state == "ended" and p.results:
                continue
            if not p.results or time.monotonic() - p.last_result > p.config.source.stall_seconds:
                engine = self.updaters[p.config.model].slot.engine
                why = (
                    "no model serves yet"
                    if engine is None
                    else f"camera {p.capture.state} {p.capture.why}".strip()
                )
                waiting.append(f"{name}: {why}")
        return not waiting, "; ".join(waiting)

    async def rollback(self, model: str | None, by: str) -> dict[str, Any]:
        """Back to the version before, held until the intent itself changes."""
        if model is None:
            if len(self.updaters) != 1:
                raise ConflictError(
                    "roll-back",
                    f"this node has {len(self.updaters)} models ({', '.join(self.updaters)})",
                    "POST /api/models/<model>/rollback",
                )
            model = next(iter(self.updaters))
        updater = self._updater(model)
        before = updater.state.active
        updater.handle(RollbackAsked(by))
        return self._outcome(model, before)

    async def promote(self, model: str, version: str, by: str, reason: str) -> dict[str, Any]:
        """This version on this node, until the intent itself changes."""
        updater = self._updater(model)
        before = updater.state.active
        check_name("version", version)
        updater.handle(PromoteAsked(version, f"api@{time.time_ns()}", by, reason))
        return self._outcome(model, before)

    def _updater(self, model: str) -> Updater:
        if model not in self.updaters:
            raise NotFoundError(
                f"model {model}", "no pipeline on this node uses it", f"use one of {', '.join(self.updaters)}"
            )
        return self.updaters[model]

    def _outcome(self, model: str, before: Ref | None) -> dict[str, Any]:
        status = self.updaters[model].status()
        return {
            "model": model,
            "from": before.version if before else None,
            "to": status["aspired"],
            "state": status["state"],
            "active": status["active"] and status["active"]["version"],
            "held": status["held"],
        }
