# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this node is measured against: bare runtimes, a plain script, and ultralytics' `predict(stream=True)`.

Each is a process that measures when told, and rests otherwise: `python -m bench.systems`, a line of JSON with the
name and the arguments of `bare`, `engine`, `script` or `stream` in, a line of JSON out.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WARM_FRAMES = 10


@dataclass(frozen=True)
class Prepared:
    """What a node has found to be fastest for the version that it has prepared last."""

    weights: Path
    variant: dict[str, str]
    imgsz: list[int] | None

    @classmethod
    def on(cls, cache: Path, published: Path) -> Prepared:
        """By the tuning result in the node's cache; `published`: the weights, where nothing was made of them."""
        path = max((cache / "prepared").glob("*/verdict.json"), key=lambda p: p.stat().st_mtime_ns)
        found = json.loads(path.read_bytes())
        made = found["made"].get("weights")
        return cls(path.with_name(made[0]) if made else published, found["variant"], found["imgsz"])


class System:
    """The host's side of one such process. Used as a context."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes what ultralytics wants to write."""
        environment = {
            **os.environ,
            "YOLO_AUTOINSTALL": "false",
            "YOLO_OFFLINE": "true",
            "YOLO_CONFIG_DIR": str(folder),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.systems"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def measure(self, what: str, **arguments: Any) -> dict[str, Any]:
        """The answer of the function `what` of this module. Raises RuntimeError when the process ended instead."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([what, arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{what} {arguments} ended with {self._process.wait()}")
        result: dict[str, Any] = json.loads(answer)
        return result

    def __enter__(self) -> System:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


# --- below: in the process


def bare(weights: str, threads: int, seconds: float) -> dict[str, float]:
    """ONNX Runtime alone, as it comes, on one fixed tensor: nothing is captured, scaled or decoded."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    [entry] = session.get_inputs()
    tensor = np.random.default_rng(0).random(entry.shape, np.float32)
    for _ in range(WARM_FRAMES):
        session.run(None, {entry.name: tensor})
    begin, cpu, count = time.perf_counter(), time.process_time(), 0
    while (taken := time.perf_counter() - begin) < seconds:
        session.run(None, {entry.name: tensor})
        count += 1
    return {"fps": count / taken, "cpu_ms": 1000 * (time.process_time() - cpu) / count}


def engine(
    weights: str, variant: dict[str, str], imgsz: list[int] | None, threads: int, batch: int, seconds: float
) -> dict[str, float]:
    """An engine as the node loads it, in all its inference streams, on fixed tensors: nothing stands around it."""
    import numpy as np

    from edgeagent.runtimes.load import load_runtime
    from edgeagent.runtimes.port import EngineOptions

    options = EngineOptions(
        variant["backend"],
        variant["device"],
        threads,
        variant["precision"],
        batch,
        (imgsz[0], imgsz[1]) if imgsz else None,
    )
    runtime = load_runtime(Path(weights), variant["format"], options)
    batch = min(batch, runtime.max_batch)
    tensor = np.random.default_rng(0).random((batch, 3, *runtime.metadata.contract.imgsz), np.float32)
    streams = runtime.streams() or (runtime,)

    def infer(stream: Any) -> int:
        count = 0
        while time.perf_counter() < end:
            stream.run(tensor)
            count += batch
        return count

    with ThreadPoolExecutor(len(streams)) as pool:
        side_by_side = pool.map if len(streams) > 1 else map  # on a GPU a runtime stays in its thread
        end = time.perf_counter() + 0.5
        sum(side_by_side(infer, streams))
        begin = time.perf_counter()
        end = begin + seconds
        count = sum(side_by_side(infer, streams))
    return {"fps": count / (time.perf_counter() - begin)}


def script(weights: str, video: str, threads: int, seconds: float) -> dict[str, float]:
    """A loop as a good programmer writes it, without torch in its process: OpenCV reads, ONNX Runtime infers.

    It has this project's letterbox and NMS, which are the fastest at hand; nothing can be changed while it runs.
    """
    import cv2
    import numpy as np

    from bench.detectors import load_detector

    detector = load_detector(Path(weights), threads)
    assert "torch" not in sys.modules
    reader = cv2.VideoCapture(video)

    def infer() -> None:
        has_frame, frame = reader.read()
        if not has_frame:
            reader.set(cv2.CAP_PROP_POS_FRAMES, 0)
            _, frame = reader.read()
        detector.detect(np.asarray(frame, np.uint8), 0.25, 0.45)

    for _ in range(WARM_FRAMES):
        infer()
    begin, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - begin) < seconds:
        infer()
        count += 1
    return {"fps": count / taken}


def openvino_export(weights: str, imgsz: int) -> dict[str, str]:
    """What ultralytics makes of a `.pt` for OpenVINO: the folder, beside the checkpoint."""
    from ultralytics import YOLO

    return {"folder": str(YOLO(weights, task="detect").export(format="openvino", imgsz=imgsz, verbose=False))}


def stream(weights: str, video: str, imgsz: int, threads: int, batch: int, seconds: float) -> dict[str, Any]:
    """`predict(stream=True)` over a video file, boxes taken out of each result as Python values.

    weights: a `.pt`, a `.onnx`, or the folder of an OpenVINO export.
    """
    import torch
    from ultralytics import YOLO

    with _threads_of_runtimes(threads) as said:
        model = YOLO(weights, task="detect")
        results = _endless(model, video, imgsz, batch)
        for _ in range(WARM_FRAMES):
            next(results)
    torch.set_num_threads(threads)  # now: setting up a predictor sets it too
    for _ in range(WARM_FRAMES):
        next(results)
    # From the end of one batch to the end of another: results within a batch come at once.
    while next(results)[1] != batch - 1:
        pass
    begin, count, boxes = time.perf_counter(), 0, 0
    while True:
        result, place = next(results)
        boxes += len(result.boxes.data.tolist())
        count += 1
        taken = time.perf_counter() - begin
        if taken >= seconds and place == batch - 1:
            return {"fps": count / taken, "boxes": boxes / count, **said}


@contextmanager
def _threads_of_runtimes(threads: int) -> Iterator[dict[str, Any]]:
    """Tell the runtimes how many threads to use, which ultralytics doesn't. Yields what they say of themselves."""
    import onnxruntime as ort

    session = ort.InferenceSession
    said: dict[str, Any] = {}

    def told(path: Any, options: Any = None, **rest: Any) -> Any:
        options = options or ort.SessionOptions()
        options.intra_op_num_threads = threads
        return session(path, options, **rest)

    ort.InferenceSession = told
    undo: list[Callable[[], None]] = [lambda: setattr(ort, "InferenceSession", session)]
    if find_spec("openvino"):
        import openvino

        compile_model = openvino.Core.compile_model

        def compiled(self: Any, model: Any, device_name: Any = None, config: Any = None) -> Any:
            told = {**(config or {}), "INFERENCE_NUM_THREADS": threads}
            made = compile_model(self, model, device_name, told)
            said["precision"] = made.get_property("INFERENCE_PRECISION_HINT").to_string()
            return made

        openvino.Core.compile_model = compiled
        undo.append(lambda: setattr(openvino.Core, "compile_model", compile_model))
    try:
        yield said
    finally:
        while undo:
            undo.pop()()


def _endless(model: Any, video: str, imgsz: int, batch: int) -> Iterator[tuple[Any, int]]:
    """Results, each with its place in its batch; the video again and again."""
    for _ in itertools.count():
        found = model.predict(
            video, stream=True, verbose=False, conf=0.25, iou=0.45, imgsz=imgsz, batch=batch, device="cpu"
        )
        for index, result in enumerate(found):
            yield result, index % batch


def main() -> None:
    """Answer until the host closes the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        what, arguments = json.loads(line)
        systems: dict[str, Callable[..., dict[str, Any]]]
        systems = {f.__name__: f for f in (bare, engine, script, openvino_export, stream)}
        answer = systems[what](**arguments)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
