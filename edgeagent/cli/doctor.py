# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent doctor`: try a configuration for real. It changes nothing but a file that it removes again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeagent.cli.golden_check import examine_set
from edgeagent.config import (
    Config,
    EngineConfig,
    HookConfig,
    IntentSourceConfig,
    PipelineConfig,
    clear_text_secrets,
    read_secret,
)
from edgeagent.core.directive import Directive, current_key, decode_directive, pin_key
from edgeagent.core.model import parse_manifest
from edgeagent.core.rollout import COORDINATOR_KEY, rollout_key
from edgeagent.core.rollout_document import decode_rollout
from edgeagent.core.webhook import check_secret
from edgeagent.errors import EdgeAgentError, NotFoundError, UnavailableError, UsageError
from edgeagent.intent.port import Advising, IntentSource
from edgeagent.intent.url import find_adapter, open_source
from edgeagent.intent.watching import read_once
from edgeagent.runtimes.registry import RuntimeRow, broken_plugins, runtimes
from edgeagent.runtimes.variants import distribution_versions, has_cuda, is_installed, missing, split_device
from edgeagent.sinks.registry import sink_type
from edgeagent.store.remote import RemoteStore
from edgeagent.util.writable import check_writable
from edgeagent.web.server import listen
from edgeagent.web.tls import ServerTls
from edgeagent.workers.probe import probe_source

CONFIG_STORE_TIMEOUT_S = 20.0
IMPORT_TIMEOUT_S = 120
LOW_DISK_BYTES = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the examination. level: ok, warn or FAIL."""

    level: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.subject}: {self.text}"


def examine(config: Config) -> Iterator[Finding]:
    """Try one thing after the other; each is said as soon as it is known, and none stops the next."""
    yield from _state_dir(config)
    yield from _secrets(config)
    for where, why in clear_text_secrets(config):
        yield Finding("warn", where, why)
    intents: dict[str, Directive] = {}
    yield from _sources(config, intents)
    yield from _model_store(config, intents)
    yield from _runtimes(config)
    for model, data in config.update.golden.items():
        subject = f"golden set of {model}"
        try:
            level, text = examine_set(config, model, data)
            yield Finding(level, subject, text)
        except EdgeAgentError as e:
            yield Finding("FAIL", subject, str(e))
    for pipeline in config.pipelines:
        yield _try(f"source of {pipeline.name}", partial(probe_source, pipeline.source))
        yield from _sinks(pipeline)
    if not config.pipelines:
        yield Finding("warn", "pipelines", "there are none, so this node will serve nothing; add one")
    yield _try("api", lambda: _api(config))


def _try(subject: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding("ok", subject, attempt())
    except EdgeAgentError as e:
        return Finding("FAIL", subject, str(e))


def _models(config: Config) -> list[str]:
    return list(dict.fromkeys(p.model for p in config.pipelines))


def _state_dir(config: Config) -> Iterator[Finding]:
    folder = config.node.state_dir
    while not folder.exists():  # the node creates what is missing
        folder = folder.parent
    found = _try("state_dir", lambda: check_writable(folder))
    yield found
    if found.level != "ok":
        return
    free = shutil.disk_usage(folder).free
    text = f"{free >> 20} MB free at {folder}"
    if free < LOW_DISK_BYTES:
        yield Finding(
            "warn", "disk", f"{text}; {config.update.keep_versions} versions and the logs must fit: make room"
        )
    else:
        yield Finding("ok", "disk", text)


def _sinks(pipeline: PipelineConfig) -> Iterator[Finding]:
    for config in pipeline.sinks:
        try_out = sink_type(config.type).try_out
        if try_out:
            yield _try(f"sink of {pipeline.name}", partial(try_out, config))


def _secrets(config: Config) -> Iterator[Finding]:
    files = {
        "api.token_file": config.api.token_file,
        "config_store.password_file": config.config_store.password_file,
        **{
            f"intent_sources[{n}].password_file": s.password_file for n, s in enumerate(config.intent_sources)
        },
    }
    for name, path in files.items():
        if path is not None:
            yield _try(name, partial(_secret, path))
    for name, hook in config.api.hooks.items():
        yield _try(f"api.hooks.{name}.secret_file", partial(_hook_secret, hook))


def _secret(path: Path) -> str:
    read_secret(path)
    return "readable, and closed to others"


def _hook_secret(hook: HookConfig) -> str:
    check_secret(hook.style, read_secret(hook.secret_file))
    return "readable, closed to others, and hard to guess"


def _sources(config: Config, intents: dict[str, Directive]) -> Iterator[Finding]:
    yield from _source(config, config.config_store, "config store", intents)
    for settings in config.intent_sources:
        yield from _source(config, settings, f"source {settings.url}", intents)
    for model in _models(config):
        if config.intent_sources and model not in intents:
            yield Finding("warn", f"intent, {model}", f"no source has one; write {current_key(model)} to one")


def _source(
    config: Config, settings: IntentSourceConfig, name: str, intents: dict[str, Directive]
) -> Iterator[Finding]:
    """Whether a source can be read; what it aspires goes into `intents`, unless an earlier one has said so."""
    try:
        source = open_source(settings.url, settings.access())
    except EdgeAgentError as e:
        yield Finding("FAIL", name, str(e))
        return
    has_rollouts = settings is config.config_store and find_adapter(settings.url).leases
    with closing(source):
        for model in _models(config):
            subject = f"{name}, {model}"
            try:
                intent, warning = _intent(source, model, config.node.id, has_rollouts)
            except EdgeAgentError as e:
                yield Finding("FAIL", subject, str(e))
                continue
            if intent is None and config.intent_sources:
                yield Finding("ok", subject, "reached; it has no intent for this model")
            elif intent is None:
                yield Finding(
                    "warn", subject, f"reached, but no version is aspired; write {current_key(model)}"
                )
            else:
                intents.setdefault(model, intent)
                verb = "preloads" if intent.preload else "aspires"
                yield Finding("ok", subject, f"{verb} {intent.version} ({intent.intent_id})")
            if warning:
                yield Finding("warn", subject, warning)
        with suppress(EdgeAgentError):  # one that can't be reached was said already
            if isinstance(source, Advising) and (text := source.advice()):
                yield Finding("warn", name, text)


def _intent(source: IntentSource, model: str, node: str, has_rollouts: bool) -> tuple[Directive | None, str]:
    """What the node would follow but for a roll-out, which it has to be able to read, else what it would preload; and
    what the source warns of."""
    keys = (pin_key(model, node), current_key(model))
    rollout = rollout_key(model)
    also = (rollout, COORDINATOR_KEY) if has_rollouts else ()
    entries, warning = read_once(source, (*keys, *also), CONFIG_STORE_TIMEOUT_S)
    if has_rollouts and (document := entries[rollout].value) is not None:
        decode_rollout(rollout, document)
    ahead = None
    for key in keys:
        value = entries[key].value
        if value is not None:
            directive = decode_directive(key, value, entries[key].revision)
            if not directive.preload:
                return directive, warning
            ahead = ahead or directive
    return ahead, warning


def _model_store(config: Config, intents: dict[str, Directive]) -> Iterator[Finding]:
    settings = config.model_store
    try:
        store = RemoteStore(
            settings.url, timeout_s=settings.timeout_seconds, storage_options=settings.storage_options
        )
    except EdgeAgentError as e:
        yield Finding("FAIL", "model store", str(e))
        return
    for model in _models(config):
        subject = f"model store, {model}"
        if model in intents:
            yield _try(subject, partial(_manifest, store, model, intents[model].version))
            continue
        try:
            yield Finding("ok", subject, f"holds {', '.join(store.versions(model)) or 'no version yet'}")
        except NotFoundError as e:
            yield Finding("warn", subject, str(e))
        except EdgeAgentError as e:
            yield Finding("FAIL", subject, str(e))


def _manifest(store: RemoteStore, model: str, version: str) -> str:
    manifest = parse_manifest(store.read_manifest(model, version), model, version)
    size = sum(f.size for f in manifest.files)
    return f"{version} is there, {size / 1e6:.1f} MB in {len(manifest.files)} files, {manifest.digest[:19]}…"


def _runtimes(config: Config) -> Iterator[Finding]:
    works = False
    for row in runtimes():
        finding = _runtime(row, config.engine)
        if finding is not None:
            yield finding
            works |= finding.level == "ok" and is_installed(row)
    for name, why in broken_plugins().items():
        yield Finding("warn", f"runtime {name}", f"{why}; install or remove its package")
    if not works and config.engine.backend == "auto":
        yield Finding(
            "FAIL",
            "runtimes",
            f"none works here on device {config.engine.device}; set engine.device: auto, or install edgeagent again",
        )


def _runtime(row: RuntimeRow, engine: EngineConfig) -> Finding | None:
    """What is to be said of one runtime; None of one that is not here and could do nothing here."""
    subject, chosen = f"runtime {row.name}", engine.backend == row.name
    bad = "FAIL" if chosen else "warn"  # with `auto`, one that works is enough
    could = not _kinds_of_device(engine.device).isdisjoint(row.precisions)
    if not chosen and engine.backend != "auto":
        return _passed_over(row, engine.backend)
    if not is_installed(row):
        error = missing(row.name)
        if chosen or could:
            optional = not chosen and (row.extra or row.install)
            return Finding("ok" if optional else bad, subject, f"{error.why}; {error.todo}")
        return None
    versions = _versions(row)
    if not could:
        wants = f"runs on {' and '.join(row.precisions)}, which this machine or engine.device does not give"
        remedy = "set engine.device: auto, or another engine.backend"
        return Finding(bad, subject, f"{versions}; {wants}: {remedy if chosen else 'not used'}")
    try:
        devices = _devices(row)
    except UnavailableError as e:
        return Finding(bad, subject, str(e))
    found = f"{versions}, on {', '.join(devices) or 'no device of this machine'}"
    if not any(_is_wanted(device, engine.device) for device in devices):
        remedy = f", or {row.cuda_remedy}" if row.cuda_remedy else ""
        return Finding(bad, subject, f"{found}, not on {engine.device}; set engine.device: auto{remedy}")
    return Finding("ok", subject, found)


def _passed_over(row: RuntimeRow, backend: str) -> Finding | None:
    """What is to be said of a runtime when another one is named: it won't run, whatever it could."""
    if not is_installed(row):
        return None
    return Finding(
        "ok", f"runtime {row.name}", f"{_versions(row)}; not tried, for engine.backend is {backend}"
    )


def _versions(row: RuntimeRow) -> str:
    return ", ".join(f"{name} {v}" for name, v in distribution_versions(row.distributions).items())


def _kinds_of_device(wanted: str) -> set[str]:
    """The kinds of device that this machine may use for `engine.device`."""
    kind, _ = split_device(wanted)
    return {kind} if kind != "auto" else {"cpu", "cuda"} if has_cuda() else {"cpu"}


def _is_wanted(device: str, wanted: str) -> bool:
    """Whether a device that a runtime found is that of `engine.device`; without a number it may be any of its kind."""
    return wanted in ("auto", device, device.partition(":")[0]) or device == wanted.partition(":")[0]


def _devices(row: RuntimeRow) -> list[str]:
    """In a process of its own: this one stays free of runtimes, and a crash while importing is survived."""
    what = f"import of {row.name}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgeagent.runtimes.probe", row.name],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise UnavailableError(
            what, f"took more than {IMPORT_TIMEOUT_S} s", "is the machine overloaded?"
        ) from e
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1]
        raise UnavailableError(what, why, "install its package again, in a fresh environment")
    return [str(device) for device in json.loads(done.stdout.strip().splitlines()[-1])]


def _api(config: Config) -> str:
    host, port = config.api.host, config.api.port
    if config.api.tls:
        ServerTls(config.api.tls)
    try:
        listen(host, port).close()
    except UsageError:
        raise
    except UnavailableError as e:
        raise UnavailableError(e.what, e.why, f"{e.todo} (a node that runs already is one reason)") from e
    return f"{host} port {port} is free"
