# SPDX-License-Identifier: AGPL-3.0-or-later
"""The preparing worker: what is heavy and happens once, at the least priority, in a throw-away process.

Settings name one task:
- fetch: bring a version into the cache, whole and hashed; says Control("stage", …), Control("progress", …) as it goes.
- measure: convert the weights for one variant, if need be, see how fast it is, and compare what it finds with what the
  reference found, which left its pictures and boxes in the same folder.
- gates: run the gates; says Control("gate", …) as it goes.
- prove: the reference, the variant that served the version before it best, and the gates, in one process.
- fingerprint: what the store holds under a version now, without fetching it.
- inspect: what a weights file says of itself.
It answers with Control("done", …) or Control("failed", …). It can be killed at any instant; the cache stays valid.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import MAX_NAMES_BYTES, Contract
from edgeagent.errors import EdgeAgentError, IntegrityError, UnavailableError, WeightsError
from edgeagent.workers.bootstrap import worker_main
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.messages import Control, Ring
from edgeagent.workers.ring import RingView

if TYPE_CHECKING:
    from edgeagent.core.model import Manifest
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.port import EngineOptions
    from edgeagent.runtimes.variants import Variant
    from edgeagent.store.cache import CachedVersion

_FRAMES_S = 5.0
_MEASURE_ROUNDS, _MEASURE_S = 12, 2.0
_PROOF_ROUNDS = 2  # nothing is to be chosen any more, only confirmed
_MAX_PICTURES = 8
_LOW_CONFIDENCE = 0.001
_IOU = 0.7
Settings = dict[str, Any]


def serve(channel: WorkerChannel, settings: Control) -> None:
    """Perform the one task of this worker."""
    s = settings.body
    tasks: dict[str, Callable[[WorkerChannel, Settings], Settings]] = {
        "fetch": _fetch,
        "measure": _benchmark,
        "gates": _gates,
        "prove": _validate_similar,
        "fingerprint": lambda _, s: {"value": _fingerprint(s)},
        "inspect": _inspect,
    }
    try:
        channel.send(Control("done", tasks[s["task"]](channel, s)))
    except EdgeAgentError as e:
        _fail(channel, s, e)
    except OSError as e:
        _fail(channel, s, UnavailableError("disk or memory of this machine", str(e), "look at the disk"))


def _fail(channel: WorkerChannel, s: Settings, e: EdgeAgentError) -> None:
    transient = isinstance(e, UnavailableError)
    fingerprint = _try_fingerprint(s) if s["task"] == "fetch" and not transient else ""
    companions = {"what": e.what, "why_alone": e.why, "todo": e.todo}
    channel.send(
        Control("failed", {"why": str(e), "transient": transient, "fingerprint": fingerprint, **companions})
    )


# -- fetch -------------------------------------------------------------------------------------------


def _fetch(channel: WorkerChannel, s: Settings) -> Settings:
    from edgeagent.store.cache import Cache, describe
    from edgeagent.store.fetch import Progress, fetch_version

    def say(p: Progress) -> None:
        progress = {"file": p.file, "done": p.done_bytes, "total": p.total_bytes, "resumed": p.resumed_from}
        channel.send(Control("progress", progress))

    def enter(stage: Stage, digest: str) -> None:
        channel.send(Control("stage", {"stage": stage.value, "digest": digest}))

    cache = Cache(Path(s["cache"]))
    cached = cache.lookup(s["model"], s["version"], s["digest"]) if s["known_good"] else None
    if cached:
        enter(Stage.VERIFYING, cached.manifest.digest)
        try:
            cache.verify(cached)
        except IntegrityError as e:
            # Bit rot on this node's disk: the store may have it whole.
            print(f"fetching anew: {e}", file=sys.stderr)
            cached = fetch_version(_remote(s), cache, s["model"], s["version"], say)
    else:
        # Hashes every file while it streams, or where it lies already.
        cached = fetch_version(_remote(s), cache, s["model"], s["version"], say)
        enter(Stage.VERIFYING, cached.manifest.digest)
    manifest = cached.manifest
    if s["known_good"] and manifest.digest != s["digest"]:
        raise IntegrityError(
            f"version {s['model']}/{s['version']}",
            f"the store holds {manifest.digest}, what served well here was {s['digest']}",
            "promote it, so that it passes the gates",
        )
    return {**describe(cached), "fingerprint": "" if s["known_good"] else _try_fingerprint(s)}


def _remote(s: Settings) -> Any:
    from edgeagent.store.remote import RemoteStore

    return RemoteStore(s["store_url"], timeout_s=s["timeout_s"], storage_options=s["storage_options"])


def _fingerprint(s: Settings) -> str:
    value: str = _remote(s).fingerprint(s["model"], s["version"])
    return value


def paths(companions: Mapping[str, str]) -> dict[str, Path]:
    """The files that belong to weights, as they travelled in a message."""
    return {fmt: Path(path) for fmt, path in companions.items()}


def _try_fingerprint(s: Settings) -> str:
    try:
        return _fingerprint(s)
    except EdgeAgentError as e:
        print(f"no fingerprint of the version in the store: {e}", file=sys.stderr)
        return ""


# -- measure -----------------------------------------------------------------------------------------


def _benchmark(channel: WorkerChannel, s: Settings) -> Settings:
    from edgeagent.runtimes.variants import Variant

    return _try(channel, s, Variant(**s["variant"]), s["is_reference"], _MEASURE_ROUNDS)[0]


def _try(
    channel: WorkerChannel, s: Settings, variant: Variant, is_reference: bool, rounds: int
) -> tuple[Settings, Detector]:
    """What came of one variant, and what it was tried with."""
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.load import load_runtime
    from edgeagent.workers.options import engine_options

    channel.send(Control("trial", {"name": variant.name}))
    compiled = str(Path(s["folder"], f"{variant.name}.compiled")) if variant.keeps_compiled else ""
    options = engine_options(variant, {**s, "compiled": compiled})
    weights = _weights(s, variant, options)
    detector = Detector(load_runtime(weights, variant.format, options, paths(s["parts"])))
    if rounds > _PROOF_ROUNDS:  # to be compared; the detector has run the network once already
        detector.warm()
    pictures = _pictures(channel, s, detector.runtime.metadata.contract, is_reference)
    boxes = [detector.detect(p, _LOW_CONFIDENCE, _IOU).boxes.tolist() for p in pictures]
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < rounds and time.perf_counter() - begin < _MEASURE_S:
        start = time.perf_counter()
        detector.detect(pictures[len(times) % len(pictures)], 0.25, _IOU)
        times.append(time.perf_counter() - start)
    result = {
        "weights": str(weights),
        "compiled": compiled,
        # The least, not the median: it runs at the lowest priority, beside the version that serves.
        "ms": min(times) * 1000,
        "parity": _parity(s, boxes, is_reference),
    }
    return result, detector


def _weights(s: Settings, variant: Variant, options: EngineOptions) -> Path:
    """What `variant` loads: a file of the version, or what is made from one here."""
    from edgeagent.runtimes.convert import convert, product
    from edgeagent.runtimes.registry import conversions

    files = {s["format"]: s["source"], **s["ready"]}
    if not variant.needs_conversion(files):
        return Path(files[variant.format])
    folder = Path(s["folder"])
    made = folder / product(variant)
    if made.exists():  # another variant, which loads the same, has had it made
        return made
    # From ONNX where there is some: that needs no torch.
    base = next(
        fmt
        for fmt in ("onnx", *files)
        if fmt in files and (variant.format == fmt or variant.format in conversions(fmt))
    )
    # Beside the folders of versions: what TensorRT measured for one network it knows of the next.
    timings = folder.parent / ".tensorrt-timings"
    return convert(Path(files[base]), base, variant, folder, replace(options, timings=timings))


def _parity(s: Settings, boxes: list[list[Any]], is_reference: bool) -> Settings | None:
    """How alike `boxes` are to those of the reference; None for the reference itself, which leaves them."""
    from edgeagent.core.tuning import Tolerance
    from edgeagent.gates.parity import compare, threshold

    left = Path(s["folder"], "reference.json")
    if is_reference:
        left.write_text(json.dumps(boxes))
        return None
    reference = json.loads(left.read_text())
    confidence = threshold(reference, s["confidence"])
    return asdict(compare(reference, boxes, confidence, Tolerance(**s["tolerance"])))


def _pictures(channel: WorkerChannel, s: Settings, contract: Contract, is_reference: bool) -> list[Any]:
    """The golden pictures, else what the line saw when the reference was measured, else a test pattern."""
    import cv2
    import numpy as np

    golden = [cv2.imread(path, cv2.IMREAD_COLOR) for path in s["golden"][:_MAX_PICTURES]]
    pictures = [p for p in golden if p is not None]
    if pictures:
        return pictures
    folder = Path(s["folder"])
    if not is_reference:  # the line has moved on: the same pictures, or there is nothing to compare
        return [np.load(path) for path in sorted(folder.glob("picture-*.npy"))]
    pictures = _recent_frames(channel)[:_MAX_PICTURES]
    if not pictures:
        height, width = contract.imgsz
        noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        pictures = [cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)]
    for index, picture in enumerate(pictures):
        np.save(folder / f"picture-{index}.npy", picture)
    return pictures


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


# -- gates -------------------------------------------------------------------------------------------


def _gates(channel: WorkerChannel, s: Settings) -> Settings:
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.load import load_runtime
    from edgeagent.runtimes.variants import Variant
    from edgeagent.store.cache import companions_of
    from edgeagent.workers.options import engine_options

    cached = _cached(s)
    variant = Variant(**s["variant"])

    def load() -> Detector:
        options = engine_options(variant, s)
        return Detector(
            load_runtime(Path(s["weights"]), variant.format, options, paths(companions_of(cached)))
        )

    _pass_contract(channel, s, cached)
    _pass_smoke(channel, cached.manifest, load)
    return {}


def _validate_similar(channel: WorkerChannel, s: Settings) -> Settings:
    from edgeagent.runtimes.variants import Variant

    cached = _cached(s)
    _pass_contract(channel, s, cached)
    reference, variant = Variant(**s["reference"]), Variant(**s["variant"])
    result, detector = _try(channel, s, reference, True, _PROOF_ROUNDS)
    results = [result]
    if variant != reference:
        result, detector = _try(channel, s, variant, False, _PROOF_ROUNDS)
        results.append(result)
    _pass_smoke(channel, cached.manifest, lambda: detector)
    return {"results": results}


def _cached(s: Settings) -> CachedVersion:
    from edgeagent.store.cache import Cache

    cached = Cache(Path(s["cache"])).lookup(s["model"], s["version"], s["digest"])
    if cached is None:  # its disk, or somebody's rm: the next try fetches it anew
        raise UnavailableError(f"version {s['model']}/{s['version']}", "is not in the cache any more")
    return cached


def _pass_contract(channel: WorkerChannel, s: Settings, cached: CachedVersion) -> None:
    from edgeagent.gates import contract
    from edgeagent.runtimes.inspect import read_metadata
    from edgeagent.store.cache import companions_of

    active = Contract.from_values(s["active_contract"]) if s["active_contract"] else None
    with _gate(channel, "contract") as failures:
        metadata = read_metadata(cached.weights, cached.manifest.weights.format, paths(companions_of(cached)))
        failures += contract.check(cached.manifest, metadata, active, s["allow_new_contract"])


def _pass_smoke(channel: WorkerChannel, manifest: Manifest, load: Callable[[], Detector]) -> None:
    from edgeagent.gates import contract, smoke

    with _gate(channel, "smoke") as failures:
        detector = load()
        failures += contract.check_form(manifest, detector.runtime.metadata)
        failures += smoke.check(detector, _recent_frames(channel))


@contextmanager
def _gate(channel: WorkerChannel, name: str) -> Iterator[list[str]]:
    """Says which gate runs; raises WeightsError with what it found, or what went wrong in it."""
    channel.send(Control("gate", {"name": name}))
    failures: list[str] = []
    try:
        yield failures
    except WeightsError as e:
        failures.append(str(e))
    if failures:
        raise WeightsError(f"gate {name}", "; ".join(failures))


# -- inspect -----------------------------------------------------------------------------------------


def _inspect(_: WorkerChannel, s: Settings) -> Settings:
    from edgeagent.runtimes.inspect import read_metadata

    metadata = read_metadata(Path(s["weights"]))
    size = len(json.dumps(metadata.contract.names))
    if size > MAX_NAMES_BYTES:  # nor would a node take its manifest
        raise WeightsError(
            f"weights {s['weights']}", f"the class names take {size} bytes, more than {MAX_NAMES_BYTES}"
        )
    return {"contract": asdict(metadata.contract), "format": metadata.format}


if __name__ == "__main__":
    worker_main(serve, Control)
