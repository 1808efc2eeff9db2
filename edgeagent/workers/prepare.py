# SPDX-License-Identifier: AGPL-3.0-or-later
"""The preparing worker: what is heavy and happens once, at the least priority, in a throw-away process.

Settings name one task:
- candidate: fetch a version, verify it, run the gates. Says Control("stage", …) as it goes,
  Control("progress", …) while it fetches, then Control("prepared", …) or Control("failed", …).
- fingerprint: what the store holds under a version now, without fetching it: Control("fingerprint", …).
- inspect: what a weights file says of itself: Control("inspected", …) or Control("refused", …).
It can be killed at any instant; the cache stays valid.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.engines.inspect import read_facts
from edgeagent.errors import EdgeAgentError, IntegrityError, NotFoundError, UnavailableError, WeightsError
from edgeagent.store.cache import Cache, CachedVersion
from edgeagent.store.fetch import Progress, fetch_version
from edgeagent.store.remote import RemoteStore
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.child import worker_main
from edgeagent.workers.messages import Control, Ring
from edgeagent.workers.ring import RingView

ABSENT = "absent"
_FRAMES_S = 5.0


def serve(channel: WorkerChannel, settings: Control) -> None:
    """Perform the one task of this worker."""
    s = settings.body
    try:
        match s["task"]:
            case "candidate":
                _candidate(channel, s)
            case "fingerprint":
                channel.send(Control("fingerprint", {"value": _fingerprint(s)}))
            case "inspect":
                facts = read_facts(Path(s["weights"]))
                channel.send(
                    Control("inspected", {"contract": asdict(facts.contract), "format": facts.format})
                )
            case task:
                raise SystemExit(f"unknown task {task!r}")
    except EdgeAgentError as e:
        if s["task"] == "inspect":
            channel.send(Control("refused", {"what": e.what, "why": e.why, "todo": e.todo}))
        else:
            _failed(channel, s, str(e), transient=isinstance(e, UnavailableError))


def _failed(channel: WorkerChannel, s: dict[str, Any], why: str, transient: bool) -> None:
    fingerprint = ""
    if s["task"] == "candidate" and not transient:
        try:
            fingerprint = _fingerprint(s)
        except EdgeAgentError as e:
            print(f"no fingerprint of the refused version: {e}", file=sys.stderr)
    channel.send(Control("failed", {"why": why, "transient": transient, "fingerprint": fingerprint}))


def _remote(s: dict[str, Any]) -> RemoteStore:
    return RemoteStore(s["store_url"], timeout_s=s["timeout_s"], storage_options=s["storage_options"])


def _fingerprint(s: dict[str, Any]) -> str:
    try:
        return _remote(s).fingerprint(s["model"], s["version"])
    except NotFoundError:
        return ABSENT


def _candidate(channel: WorkerChannel, s: dict[str, Any]) -> None:
    cache = Cache(Path(s["cache"]))
    cached = _trusted(channel, s, cache) if s["known_good"] else None
    if cached is None:
        # Hashes every file while it streams, or where it lies already.
        cached = fetch_version(_remote(s), cache, s["model"], s["version"], lambda p: _progress(channel, p))
        _enter(channel, Stage.VERIFYING, cached.manifest.digest)
    manifest = cached.manifest
    if s["known_good"] and manifest.digest != s["digest"]:
        raise IntegrityError(
            f"version {s['model']}/{s['version']}",
            f"the store holds {manifest.digest}, what served well here was {s['digest']}",
            "promote it, so that it passes the gates",
        )
    if not s["known_good"]:
        _enter(channel, Stage.PREPARING)
        _enter(channel, Stage.GATING)
        refused = _gates(channel, s, cached)
        if refused:
            _failed(channel, s, refused, transient=False)
            return
    channel.send(
        Control(
            "prepared",
            {
                "weights": str(cached.weights),
                "format": manifest.weights.format,
                "digest": manifest.digest,
                "contract": asdict(manifest.contract),
            },
        )
    )


def _trusted(channel: WorkerChannel, s: dict[str, Any], cache: Cache) -> CachedVersion | None:
    """The version that served well here, as this node's cache holds it; None when it must be fetched again."""
    cached = cache.lookup(s["model"], s["version"], s["digest"])
    if cached is None:
        return None
    try:
        cache.verify(cached)
    except IntegrityError as e:
        # Bit rot on this node's disk: the store may have it whole.
        print(f"fetching anew: {e}", file=sys.stderr)
        return None
    _enter(channel, Stage.VERIFYING, cached.manifest.digest)
    return cached


def _enter(channel: WorkerChannel, stage: Stage, digest: str = "") -> None:
    channel.send(Control("stage", {"stage": stage.value, "digest": digest}))


def _progress(channel: WorkerChannel, p: Progress) -> None:
    channel.send(
        Control(
            "progress",
            {"file": p.file, "done": p.done_bytes, "total": p.total_bytes, "resumed": p.resumed_from},
        )
    )


def _gates(channel: WorkerChannel, s: dict[str, Any], cached: CachedVersion) -> str:
    """Run every gate in order; the first refusal, by the gate's name, or "" when all pass."""
    # Here and not above: a worker that only fetches needs no runtime.
    from edgeagent.engines.detector import Detector
    from edgeagent.engines.load import load_runtime
    from edgeagent.engines.port import EngineOptions
    from edgeagent.gates import contract, smoke

    manifest = cached.manifest
    active = Contract.from_values(s["active_contract"]) if s["active_contract"] else None
    options = EngineOptions(backend=s["backend"], device=s["device"], threads=s["threads"])
    gate = "contract"
    try:
        _gate(channel, gate)
        facts = read_facts(cached.weights, manifest.weights.format)
        failures = contract.check(manifest, facts, active, s["allow_new_contract"])
        if not failures:
            gate = "smoke"
            _gate(channel, gate)
            detector = Detector(load_runtime(cached.weights, manifest.weights.format, options))
            failures = smoke.check(detector, _recent_frames(channel))
    except WeightsError as e:
        failures = [str(e)]
    return f"gate {gate}: {'; '.join(failures)}" if failures else ""


def _gate(channel: WorkerChannel, name: str) -> None:
    channel.send(Control("gate", {"name": name}))


def _recent_frames(channel: WorkerChannel) -> list[Any]:
    """Frames that the line has seen just now; the node lends their slots while this worker lives."""
    channel.send(Control("frames?", {}))
    rings: dict[int, RingView] = {}
    while True:
        message = channel.receive(_FRAMES_S)
        match message:
            case Ring(ring, slots, slot_bytes):
                rings[ring] = RingView(channel.fds.popleft(), slots, slot_bytes)
            case Control("frames", body):
                return [rings[f["ring"]].image(f["slot"], f["height"], f["width"]) for f in body["frames"]]
            case _:
                raise SystemExit(f"asked for frames, got {message!r}")


if __name__ == "__main__":
    worker_main(serve)
