# SPDX-License-Identifier: AGPL-3.0-or-later
"""The preparing worker: what is heavy and happens once, at the least priority, in a throw-away process.

It gets one task (`tasks.prepare`), reports as it goes, and ends with the task's answer or TaskFailed. It can be killed
at any instant; the cache stays valid.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import MAX_NAMES_BYTES
from edgeagent.core.text import cut
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import EdgeAgentError, IntegrityError, UnavailableError, UsageError, WeightsError
from edgeagent.util.codec import to_json
from edgeagent.workers.bootstrap import worker_main
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.tasks.engine import LoadPlan
from edgeagent.workers.tasks.prepare import (
    Answer,
    Benchmark,
    Evaluate,
    Fetched,
    FetchProgress,
    FetchVersion,
    FindWithdrawn,
    Fingerprint,
    GateFinished,
    GateProgress,
    GatesRun,
    GateStarted,
    InspectWeights,
    ListVersions,
    Prove,
    RunGates,
    SimilarResult,
    StageEntered,
    StoreAccess,
    StoreFingerprint,
    Task,
    TaskFailed,
    ValidateSimilar,
    VersionFound,
    VersionsListed,
    VersionsRead,
    WeightsInspected,
    Withdrawn,
)

if TYPE_CHECKING:
    from edgeagent.gates.port import ActiveVersion, GateContext
    from edgeagent.store.remote import RemoteStore


def serve(channel: WorkerChannel, task: Task) -> None:
    """Perform the one task of this worker."""
    try:
        channel.send(_perform(channel, task))
    except EdgeAgentError as e:
        channel.send(_failure(task, e))
    except OSError as e:
        error = UnavailableError("disk or memory of this machine", str(e), "look at the disk")
        channel.send(_failure(task, error))


def _perform(channel: WorkerChannel, task: Task) -> Answer:
    match task:
        case FetchVersion():
            return _fetch(channel, task)
        case Fingerprint(store, model, version):
            return StoreFingerprint(_remote(store).fingerprint(model, version))
        case FindWithdrawn(store, versions):
            return _find_withdrawn(_remote(store), versions)
        case ListVersions():
            return _list_versions(channel, task)
        case Benchmark(setup, variant, folder, compares):
            from edgeagent.workers.trials import Trials

            return Trials(channel, setup, folder).run(variant, compares)[0]
        case Prove(setup, variant, folder, pictures):
            from edgeagent.workers.trials import Trials

            return Trials(channel, setup, folder).prove(variant, pictures)
        case ValidateSimilar():
            return _validate_similar(channel, task)
        case RunGates():
            return _run_gates(channel, task)
        case InspectWeights(weights):
            return _inspect(weights)
        case Evaluate():
            from edgeagent.workers.evaluate import evaluate

            return evaluate(channel, task)


def _failure(task: Task, e: EdgeAgentError) -> TaskFailed:
    transient, fingerprint = isinstance(e, UnavailableError), ""
    if isinstance(task, FetchVersion) and not transient:
        fingerprint = _try_fingerprint(task)
    return TaskFailed(e.what, e.why, e.todo, transient, fingerprint, isinstance(e, UsageError))


# -- fetch -------------------------------------------------------------------------------------------


def _fetch(channel: WorkerChannel, task: FetchVersion) -> Fetched:
    from edgeagent.store.cache import Cache, CachedVersion
    from edgeagent.store.fetch import Progress, fetch_version

    def report(p: Progress) -> None:
        channel.send(FetchProgress(p.file, p.done_bytes, p.total_bytes, p.resumed_from))

    def fetch() -> CachedVersion:
        remote = _remote(task.store)
        # What has served well here is brought back whatever became of it.
        return fetch_version(remote, cache, task.model, task.version, report, withdrawn_too=task.known_good)

    cache = Cache(task.cache)
    cached = cache.lookup(task.model, task.version, task.digest) if task.known_good else None
    if cached:
        channel.send(StageEntered(Stage.VERIFYING, cached.manifest.digest))
        try:
            cache.verify(cached)
        except IntegrityError as e:
            # Bit rot on this node's disk: the store may have it whole.
            print(f"fetching anew: {e}", file=sys.stderr)
            cached = fetch()
    else:
        # Hashes every file while it streams, or where it lies already.
        cached = fetch()
        channel.send(StageEntered(Stage.VERIFYING, cached.manifest.digest))
    if task.known_good and cached.manifest.digest != task.digest:
        raise IntegrityError(
            f"version {task.model}/{task.version}",
            f"the store holds {cached.manifest.digest}, what served well here was {task.digest}",
            "promote it, so that it passes the gates",
        )
    return Fetched(cached.verified, "" if task.known_good else _try_fingerprint(task))


def _remote(store: StoreAccess) -> RemoteStore:
    from edgeagent.store.remote import RemoteStore

    return RemoteStore(store.url, timeout_s=store.timeout_s, pace=store.pace, storage_options=store.options)


def _try_fingerprint(task: FetchVersion) -> str:
    try:
        return _remote(task.store).fingerprint(task.model, task.version)
    except EdgeAgentError as e:
        print(f"no fingerprint of the version in the store: {e}", file=sys.stderr)
        return ""


def _find_withdrawn(remote: RemoteStore, versions: Sequence[tuple[str, str]]) -> Withdrawn:
    from edgeagent.store.withdrawals import find_withdrawal

    found = (find_withdrawal(remote, model, version) for model, version in versions)
    # Of many versions they still fit a message.
    return Withdrawn(tuple(cut(str(withdrawal or ""), 500) for withdrawal in found))


def _list_versions(channel: WorkerChannel, task: ListVersions) -> VersionsListed:
    from edgeagent.store.releases import list_releases

    def report(done: int, total: int) -> None:
        channel.send(VersionsRead(done, total))

    listing = list_releases(_remote(task.store), task.model, report)
    for release in listing.releases[-task.most :]:
        channel.send(VersionFound(release.row().shortened()))
    broken = tuple(cut(str(tag), 500) for tag in listing.broken_tags[:20])
    return VersionsListed(max(0, len(listing.releases) - task.most), broken)


# -- gates -------------------------------------------------------------------------------------------


def _run_gates(channel: WorkerChannel, task: RunGates) -> GatesRun:
    from edgeagent.gates.port import GateContext
    from edgeagent.store.cache import golden_files
    from edgeagent.workers.loading import MeasuredLoad

    _check_still_there(task.version)
    loader = MeasuredLoad()
    context = GateContext(
        version=task.version,
        terms=task.terms,
        parity=task.parity,
        tolerance=task.tolerance,
        load=lambda: loader.load(task.plan),
        see_frames=lambda: _line_frames(channel),
        active=_active(task.active),
        on_progress=lambda done, total: channel.send(GateProgress(done, total)),
        folder=task.measured,
        loading=lambda: loader.last,
        golden=golden_files(task.version),
    )
    return GatesRun(_judge(channel, context))


def _validate_similar(channel: WorkerChannel, task: ValidateSimilar) -> SimilarResult:
    from edgeagent.gates.port import GateContext
    from edgeagent.store.cache import golden_files
    from edgeagent.workers.trials import VALIDATION_ROUNDS, Trials

    _check_still_there(task.setup.version)
    trials = Trials(channel, task.setup, task.folder)
    result, detector = trials.run(task.setup.reference, rounds=VALIDATION_ROUNDS)
    results = [result]
    if task.variant != task.setup.reference:
        result, detector = trials.run(task.variant, rounds=VALIDATION_ROUNDS)
        results.append(result)
    context = GateContext(
        version=task.setup.version,
        terms=task.terms,
        parity=result.parity,
        tolerance=task.setup.tolerance,
        load=lambda: detector,
        see_frames=lambda: _line_frames(channel),
        active=_active(task.active),
        on_progress=lambda done, total: channel.send(GateProgress(done, total)),
        folder=task.measured,
        loading=lambda: trials.loader.last,
        golden=golden_files(task.setup.version),
    )
    return SimilarResult(tuple(results), _judge(channel, context))


def _active(plan: LoadPlan | None) -> ActiveVersion | None:
    """What serves; its key holds the plan, and tells its files by size and date too."""
    from edgeagent.gates.port import ActiveVersion
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.workers.options import load_plan

    if plan is None:
        return None
    files = [path.stat() for path in (plan.weights, *plan.companions.values()) if path.exists()]
    stamps = [(found.st_size, found.st_mtime_ns) for found in files]
    key = hashlib.sha256(json.dumps([to_json(plan), stamps], sort_keys=True).encode()).hexdigest()
    return ActiveVersion(key, lambda: Detector(load_plan(plan)))


def _line_frames(channel: WorkerChannel) -> list[Any]:
    from edgeagent.workers.pictures import LineFrames

    return LineFrames(channel).take()


def _judge(channel: WorkerChannel, context: GateContext) -> tuple[GateResult, ...]:
    from edgeagent.gates import GATES, plug_ins, run_gates

    gates = (*GATES, *plug_ins.load(context.terms.plug_ins))
    return run_gates(
        gates,
        context,
        on_start=lambda name: channel.send(GateStarted(name)),
        on_finish=lambda result: channel.send(GateFinished(result)),
    )


def _check_still_there(version: VerifiedVersion) -> None:
    """Raises UnavailableError: the disk's doing, or somebody's rm. The next try fetches it."""
    if not all(path.is_file() for path in (*version.files.values(), *version.companions.values())):
        raise UnavailableError(f"version {version.model}/{version.version}", "is not in the cache any more")


# -- inspect -----------------------------------------------------------------------------------------


def _inspect(weights: Path) -> WeightsInspected:
    from edgeagent.runtimes.inspect import read_metadata

    metadata = read_metadata(weights)
    size = len(json.dumps(metadata.contract.names))
    if size > MAX_NAMES_BYTES:  # nor would a node take its manifest
        raise WeightsError(
            f"weights {weights}", f"the class names take {size} bytes, more than {MAX_NAMES_BYTES}"
        )
    return WeightsInspected(metadata.contract, metadata.format)


if __name__ == "__main__":
    worker_main(serve, *get_args(Task))
