# SPDX-License-Identifier: AGPL-3.0-or-later
"""The model store: there, readable with the credentials that are given, and with the version that is aspired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import OK, WARN, Finding, attempt, failure
from edgeagent.core.model import parse_manifest
from edgeagent.errors import ConflictError, EdgeAgentError, NotFoundError
from edgeagent.store.remote import RemoteStore
from edgeagent.store.withdrawals import find_withdrawal

_AWAY = "check model_store.url: the name, whether it is mounted, and whether this user may read there"


def model_store(x: Examination) -> Iterator[Finding]:
    """For each model."""
    settings = x.config.model_store
    try:
        store = RemoteStore(
            settings.url, timeout_s=settings.timeout_seconds, storage_options=settings.storage_options
        )
    except EdgeAgentError as e:
        yield failure("model store", e)
        return
    for model in x.models:
        subject = f"model store, {model}"
        if model in x.intents:
            found = attempt(subject, partial(_manifest, x, store, model, x.intents[model].version))
            yield found if found.level == OK else _with_others(found, store, model)
        else:
            yield _holdings(store, model, subject)


def _holdings(store: RemoteStore, model: str, subject: str) -> Finding:
    """Which versions there are."""
    publish = f"edgeagent publish WEIGHTS --model {model} --version v1 --store {store.name}"
    try:
        versions = store.versions(model)
    except NotFoundError as e:
        return Finding(WARN, subject, f"{e.what}: {e.why}", publish)
    except EdgeAgentError as e:
        return failure(subject, e)
    if not versions:
        return Finding(WARN, subject, "holds no version yet", publish)
    return Finding(OK, subject, f"holds {', '.join(versions)}")


def _manifest(x: Examination, store: RemoteStore, model: str, version: str) -> str:
    """That the version is there, and may be taken."""
    manifest = parse_manifest(store.read_manifest(model, version), model, version)
    if withdrawal := find_withdrawal(store, model, version):
        todo = f"promote another version, or lift it with edgeagent yank {model} {version} --undo"
        raise ConflictError(f"version {model}/{version}", f"withdrawn: {withdrawal}", todo)
    x.manifests[model] = manifest
    size = sum(f.size for f in manifest.files)
    return f"{version} is there, {size / 1e6:.1f} MB in {len(manifest.files)} files, {manifest.digest[:19]}…"


def _with_others(found: Finding, store: RemoteStore, model: str) -> Finding:
    """What the store has in the place of a version that it doesn't have."""
    if "not in the store" not in found.text:
        return replace(found, todo=found.todo if found.todo != "it is tried again later" else _AWAY)
    try:
        versions = store.versions(model)
    except EdgeAgentError:
        return found
    has = f"the store has {', '.join(versions[-10:])}" if versions else "the store has none of this model"
    return replace(found, todo=f"publish it, or promote one that is there: {has}")


def addresses(x: Examination) -> Iterator[tuple[str, str, int, bool]]:
    """Of servers whose clock can be asked: what it is, host, port, and whether it speaks TLS."""
    settings = x.config.model_store
    url = settings.url
    if url.startswith("s3://"):
        url = str(settings.storage_options.get("endpoint_url") or "")
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return
    if parts.scheme in ("http", "https") and parts.hostname:
        yield "model store", parts.hostname, port, parts.scheme == "https"
