# SPDX-License-Identifier: AGPL-3.0-or-later
"""Part of `make soak`: thousands of damaged versions through fetch, hash, reading, loading and the first gates.

Each is either refused with a reason, or gives a version whose content is what its digest says. None hangs, writes a
file anywhere but into the cache, runs what it brings, or leaves a process behind. A version that crashes its process is
refused by that: the node sees the end of its worker.

Each version is looked at in a process of its own, forked from one that has imported the runtimes and used none of them;
some go through a real worker as well.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.mutations import MODEL, Mutation, Sample, mutate
from edgeagent.core.model import parse_manifest
from edgeagent.errors import EdgeAgentError, WeightsError
from edgeagent.testing import children
from edgeagent.util.hashing import hash_file

SHARES = {"pt": 0.3, "onnx": 0.3, "openvino": 0.2, "manifest": 0.2}
TIMEOUT_S = 120.0  # far below what a node allows
MEMORY_BYTES = 4 << 30  # as `update.candidate_memory_mb`
LONGEST_REASON = 2000  # characters
FILES = {
    "pt": {"tiny.pt": "pt"},
    "onnx": {"tiny.onnx": "onnx"},
    "openvino": {"tiny.xml": "openvino", "tiny.bin": "openvino-bin"},
}


@dataclass(frozen=True)
class Outcome:
    """What came of one version. verdict: "taken", "refused", "died" (its process did), "killed" (by the limits), or
    "fault": what must not be."""

    verdict: str
    why: str
    seconds: float


@dataclass
class Figures:
    """What a run showed. counts: by kind and verdict; in_workers: verdicts of real workers."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    in_workers: Counter[str] = field(default_factory=Counter)


class Laboratory:
    """Folders for one version after the other, and what may not change in them."""

    def __init__(self, root: Path) -> None:
        self.root, self.store, self.cache = root, root / "store", root / "cache"
        self.marker = root / "it-ran"
        self._bystanders = [root / name for name in ("home", "tmp", "work")]

    def lay_down(self, mutation: Mutation, version: str) -> Path:
        """Put the version into the store; returns its folder."""
        for folder in (self.store, self.cache, *self._bystanders):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        folder = self.store / MODEL / version
        folder.mkdir(parents=True)
        for path, data in {**mutation.files, "manifest.json": mutation.manifest}.items():
            (folder / path).write_bytes(data)
        return folder

    def enter(self) -> None:
        """Make a forked process believe that it lives in the folders that nothing may be written to."""
        home, tmp, work = self._bystanders
        os.environ.update(HOME=str(home), TMPDIR=str(tmp), XDG_CACHE_HOME=str(home))
        tempfile.tempdir = None
        os.chdir(work)

    def changed(self, mutation: Mutation, version: str) -> str:
        """What was written outside of the cache, or ""."""
        if self.marker.exists():
            return "what it brought was run"
        left = [str(path) for folder in self._bystanders for path in folder.rglob("*")]
        here = {path.name for path in self.root.iterdir()}
        left += sorted(here - {"store", "cache", *(folder.name for folder in self._bystanders)})
        folder = self.store / MODEL / version
        expected = {**mutation.files, "manifest.json": mutation.manifest}
        found = {path.name: path.read_bytes() for path in self.store.rglob("*") if path.is_file()}
        if found != expected or {p.parent for p in self.store.rglob("*") if p.is_file()} != {folder}:
            left.append("the store")
        return f"written: {', '.join(left)[:200]}" if left else ""


def look_at(lab: Laboratory, version: str) -> tuple[str, str]:
    """What a node does with a version until its first gates, in one process. Returns verdict and reason."""
    from edgeagent.core.gating import GateTerms
    from edgeagent.gates import contract, smoke
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.inspect import read_metadata
    from edgeagent.runtimes.load import load_runtime
    from edgeagent.runtimes.port import EngineOptions
    from edgeagent.store.cache import Cache
    from edgeagent.store.fetch import fetch_version
    from edgeagent.store.remote import RemoteStore

    try:
        cache = Cache(lab.cache)
        cached = fetch_version(
            RemoteStore(str(lab.store)), cache, MODEL, version, lambda _: None, sleep=lambda _: None
        )
        cache.verify(cached)
        v = cached.verified
        metadata = read_metadata(v.weights, v.format, v.companions)
        results = [contract.check(v, metadata, GateTerms())]
        options = EngineOptions(device="cpu", threads=1)
        detector = Detector(load_runtime(v.weights, v.format, options, v.companions))
        results.append(smoke.check(detector, []))
    except EdgeAgentError as e:
        return "refused", str(e)
    reasons = [reason for result in results for reason in result.reasons]
    return ("refused", "; ".join(reasons)) if reasons else ("taken", v.digest)


def in_child(work: Callable[[], tuple[str, str]]) -> Outcome:
    """`work` in a forked process with a group of its own, within the limits. Nothing of it is left."""
    reader, writer = os.pipe()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.setpgid(0, 0)
        quiet = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(quiet, fd)
        try:
            answer = work()
        except BaseException as e:  # noqa: BLE001  (what it is, is the finding)
            answer = "fault", f"{type(e).__name__}: {e}"
        os.write(writer, json.dumps(answer).encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with suppress(OSError):
        os.setpgid(pid, pid)
    over = _watch(pid, reader, begun)
    data = os.read(reader, 1 << 16) if not over else b""
    os.close(reader)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seconds = time.monotonic() - begun
    if over:
        return Outcome("killed", over, seconds)
    if not data:
        return Outcome("died", f"signal {-code}" if code < 0 else f"exit code {code}", seconds)
    verdict, why = json.loads(data)
    return Outcome(verdict, why, seconds)


def _watch(pid: int, reader: int, begun: float) -> str:
    """Until it answers or ends; which limit it is over, or ""."""
    while not select.select([reader], [], [], 0.05)[0]:
        if time.monotonic() - begun > TIMEOUT_S:
            return f"no answer within {TIMEOUT_S:g} s"
        with suppress(OSError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            if pages * os.sysconf("SC_PAGE_SIZE") > MEMORY_BYTES:
                return "too much memory"
    return ""


def judged(lab: Laboratory, mutation: Mutation, version: str, outcome: Outcome) -> Outcome:
    """The outcome, or a fault: of what it says, of what it left."""
    fault = lab.changed(mutation, version) or _unclear(outcome)
    if outcome.verdict == "taken" and not fault:
        fault = _unproved(lab, version, outcome.why)
    if not fault and outcome.verdict == "killed" and "answer" in outcome.why:
        fault = "it hung"
    return Outcome("fault", f"{fault} ({outcome.why[:300]})", outcome.seconds) if fault else outcome


def _unclear(outcome: Outcome) -> str:
    if outcome.verdict != "refused":
        return ""
    what, _, why = outcome.why.partition(": ")
    if (
        len(outcome.why) > LONGEST_REASON
        or "\n" in outcome.why
        or "Traceback" in outcome.why
        or not (what and why)
    ):
        return "no clear reason"
    return ""


def _unproved(lab: Laboratory, version: str, digest: str) -> str:
    """Whether the cache holds exactly what the digest stands for."""
    manifest = parse_manifest((lab.store / MODEL / version / "manifest.json").read_bytes(), MODEL, version)
    found = {file.sha256: hash_file(lab.cache / "blobs" / file.sha256).sha256 for file in manifest.files}
    whole = manifest.digest == digest and all(name == content for name, content in found.items())
    return "" if whole else "its digest is not that of its content"


def in_worker(path: Path) -> str:
    """The verdict of a real worker on weights that lie in the store."""
    from edgeagent.workers.inspect import inspect_weights

    try:
        inspect_weights(path)
    except WeightsError as e:
        return "refused" if e.why else "fault"
    return "taken"


def samples(folder: Path) -> dict[str, Sample]:
    """A sound version of each format, all of one tiny network; made in a process of its own, for threads' sake."""
    from edgeagent.runtimes.inspect import read_metadata

    outcome = in_child(lambda: _make_samples(folder))
    if outcome.verdict != "taken":
        raise SystemExit(f"no samples: {outcome.why}")
    contract = read_metadata(folder / "tiny.onnx").contract
    return {
        kind: Sample({path: (folder / path).read_bytes() for path in formats}, formats, contract)
        for kind, formats in FILES.items()
    }


def _make_samples(folder: Path) -> tuple[str, str]:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    import edgeagent.runtimes.openvino.runtime  # noqa: F401  (keeps OpenVINO from reporting home)
    from edgeagent.runtimes.port import EngineOptions
    from edgeagent.runtimes.torch.export import export_onnx

    # isort: split
    import openvino

    layers = [[-1, 1, "Conv", [8, 3, 2]] for _ in range(5)]
    head = [[[2, 3, 4], 1, "Detect", ["nc"]]]
    network = DetectionModel({"backbone": layers, "head": head, "nc": 3, "scales": None}, verbose=False)
    network.names, network.task, network.args = {0: "a", 1: "b", 2: "c"}, "detect", {"imgsz": 64}
    torch.save({"model": network, "train_args": {"imgsz": 64}}, folder / "tiny.pt")
    export_onnx(folder / "tiny.pt", folder / "tiny.onnx", EngineOptions(threads=1))
    graph = openvino.Core().read_model(folder / "tiny.onnx")
    openvino.save_model(graph, folder / "tiny.xml", compress_to_fp16=False)
    return "taken", ""


def _import_runtimes(checkpoint: Path) -> None:
    """What each look needs, once; no thread may come of it, as those don't live on in a forked process."""
    import edgeagent.gates.smoke
    import edgeagent.runtimes.onnx.runtime
    import edgeagent.runtimes.openvino.runtime
    import edgeagent.runtimes.torch.runtime
    import edgeagent.store.folder  # noqa: F401
    from edgeagent.runtimes.inspect import read_metadata
    from edgeagent.runtimes.torch.threads import set_threads

    set_threads(1)
    read_metadata(checkpoint)


def run(numbers: range, seed: int, every: int, root: Path, figures: Figures) -> None:
    """Look at the versions of these numbers; every so many in a real worker as well. What comes of it is added up."""
    lab = Laboratory(root / "lab")
    lab.root.mkdir()
    sound = samples(root)
    _import_runtimes(root / "tiny.pt")
    for kind, sample in sound.items():
        check_sound(lab, kind, sample)
    before = set(children(os.getpid()))
    for i in numbers:
        rng = random.Random(f"{seed} {i}")
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        version = f"v{i}"
        mutation = mutate(rng, kind, sound, version, str(lab.marker))
        folder = lab.lay_down(mutation, version)

        def look(version: str = version) -> tuple[str, str]:
            lab.enter()
            return look_at(lab, version)

        outcome = judged(lab, mutation, version, in_child(look))
        if left := set(children(os.getpid())) - before:
            outcome = Outcome("fault", f"processes left: {left}", outcome.seconds)
        figures.counts[kind, outcome.verdict] += 1
        figures.slowest_s = max(figures.slowest_s, outcome.seconds)
        if outcome.verdict == "fault":
            figures.faults.append(f"{i}: {kind}, {mutation.way}: {outcome.why}")
            print(figures.faults[-1], file=sys.stderr)
        if kind != "manifest" and i % every == 0:
            figures.in_workers[in_worker(folder / next(iter(mutation.files)))] += 1
        if i % 100 == 99:
            print(f"{i + 1}/{numbers.stop}, {len(figures.faults)} faults", file=sys.stderr)


def check_sound(lab: Laboratory, kind: str, sample: Sample) -> None:
    """Raise SystemExit unless the undamaged version is taken: else a run would show nothing."""
    from bench.mutations import manifest_of

    lab.lay_down(Mutation(kind, "none", sample.files, manifest_of(sample, "sound")), "sound")

    def look() -> tuple[str, str]:
        lab.enter()
        return look_at(lab, "sound")

    outcome = in_child(look)
    if outcome.verdict != "taken":
        raise SystemExit(f"a sound version in {kind} is {outcome.verdict}: {outcome.why}")


def main() -> int:
    """Print the figures, also when interrupted. Returns 1 when something was that must not be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mutations", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--first", type=int, default=0, help="to look at one again: its number, and --mutations 1"
    )
    parser.add_argument("--worker-every", type=int, default=100, help="so many go through a real worker, too")
    arguments = parser.parse_args()
    begun = time.monotonic()
    figures = Figures()
    numbers = range(arguments.first, arguments.first + arguments.mutations)
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="edgeagent-mutations-") as temp:
        run(numbers, arguments.seed, arguments.worker_every, Path(temp), figures)
    verdicts = ("taken", "refused", "died", "killed", "fault")
    print(f"{'':10}" + "".join(f"{verdict:>9}" for verdict in verdicts))
    for kind in SHARES:
        print(f"{kind:10}" + "".join(f"{figures.counts[kind, verdict]:9}" for verdict in verdicts))
    print(f"in real workers: {dict(figures.in_workers)}; the slowest took {figures.slowest_s:.1f} s")
    minutes = (time.monotonic() - begun) / 60
    print(f"{figures.counts.total()} versions, seed {arguments.seed}, in {minutes:.0f} minutes")
    for fault in figures.faults[:40]:
        print(f"  {fault}")
    return 1 if figures.faults or figures.in_workers["fault"] else 0


if __name__ == "__main__":
    sys.exit(main())
