# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent doctor`: try a configuration for real. It changes nothing but a file that it removes again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeagent.config import Config, JsonlSink, PipelineConfig, read_secret
from edgeagent.core.directive import Directive, current_key, decode_directive, pin_key
from edgeagent.core.model import parse_manifest
from edgeagent.errors import EdgeAgentError, NotFoundError, UnavailableError, UsageError
from edgeagent.intent.port import ConfigStore
from edgeagent.intent.url import open_config_store
from edgeagent.store.remote import RemoteStore
from edgeagent.web.server import listen
from edgeagent.workers.probe import probe_source

IMPORT_TIMEOUT_S = 120
LOW_DISK_BYTES = 2 << 30
_RUNTIMES = {
    "onnxruntime": "import onnxruntime as o; print(o.__version__, *o.get_available_providers())",
    "torch": "import torch as t; print(t.__version__, 'cuda' if t.cuda.is_available() else 'cpu')",
}


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
    intents: dict[str, Directive] = {}
    yield from _config_store(config, intents)
    yield from _model_store(config, intents)
    yield from _runtimes(config)
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
    found = _try("state_dir", lambda: _writable(folder))
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


def _writable(folder: Path) -> str:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as f:
            f.write(b"x" * 4096)
            f.flush()
            os.fsync(f.fileno())
    except OSError as e:
        why = f"can't be written by user {os.getuid()} ({e.strerror})"
        raise UnavailableError(str(folder), why, "create it, owned by the node's user") from e
    return f"{folder} can be written"


def _sinks(pipeline: PipelineConfig) -> Iterator[Finding]:
    for sink in pipeline.sinks:
        if isinstance(sink, JsonlSink):
            folder = sink.path.absolute().parent
            yield _try(f"sink of {pipeline.name}", partial(_writable, folder))


def _secrets(config: Config) -> Iterator[Finding]:
    files = {
        "api.token_file": config.api.token_file,
        "config_store.password_file": config.config_store.password_file,
    }
    for name, path in files.items():
        if path is not None:
            yield _try(name, partial(_secret, path))


def _secret(path: Path) -> str:
    read_secret(path)
    return "readable, and closed to others"


def _config_store(config: Config, intents: dict[str, Directive]) -> Iterator[Finding]:
    settings = config.config_store
    try:
        store = open_config_store(
            settings.url, username=settings.username or "", password_file=settings.password_file
        )
    except EdgeAgentError as e:
        yield Finding("FAIL", "config store", str(e))
        return
    with closing(store):
        for model in _models(config):
            subject = f"config store, {model}"
            try:
                intent = _intent(store, model, config.node.id)
            except EdgeAgentError as e:
                yield Finding("FAIL", subject, str(e))
                continue
            if intent is None:
                yield Finding(
                    "warn", subject, f"reached, but no version is aspired; write {current_key(model)}"
                )
            else:
                intents[model] = intent
                yield Finding("ok", subject, f"aspires {intent.version} ({intent.intent_id})")


def _intent(store: ConfigStore, model: str, node: str) -> Directive | None:
    for key in (pin_key(model, node), current_key(model)):
        entry = store.get(key)
        if entry.value is not None:
            return decode_directive(key, entry.value, entry.revision)
    return None


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
    wanted = config.engine.backend
    works = False
    for name, code in _RUNTIMES.items():
        if wanted not in ("auto", name):
            continue
        finding = _try(f"runtime {name}", partial(_import, name, code))
        works |= finding.level == "ok"
        if (
            finding.level == "ok"
            and config.engine.device.startswith("cuda")
            and "cuda" not in finding.text.lower()
        ):
            finding = Finding(
                "FAIL", finding.subject, f"{finding.text}: no CUDA; set engine.device: cpu, or install it"
            )
        # With `auto`, one runtime is enough for models of its format.
        lacks = finding.level == "FAIL" and wanted == "auto" and not config.engine.device.startswith("cuda")
        yield Finding("warn", finding.subject, finding.text) if lacks else finding
    if not works and wanted == "auto":
        yield Finding("FAIL", "runtimes", "none can be imported; install edgeagent again")


def _import(name: str, code: str) -> str:
    """In a process of its own: this one stays free of runtimes, and a crash while importing is survived."""
    what = f"import of {name}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
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
        raise UnavailableError(what, why, "install edgeagent again, in a fresh environment")
    return done.stdout.strip()


def _api(config: Config) -> str:
    host, port = config.api.host, config.api.port
    try:
        listen(host, port).close()
    except UsageError:
        raise
    except UnavailableError as e:
        raise UnavailableError(e.what, e.why, f"{e.todo} (a node that runs already is one reason)") from e
    return f"{host} port {port} is free"
