# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where each microsecond of a frame goes: every stage of its way alone, in processor time.

Processor time and not wall-clock time: it says what a stage costs, whoever else uses the machine. It counts every
thread of the process, so a decoder that works in threads of its own is seen too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson

from bench import networks
from bench.detectors import load_detector
from bench.film import SIZE, film
from bench.networks import Weights
from bench.report import Bench, Section, median, table
from edgeagent.observe.metrics import Metrics
from edgeagent.runtimes.detection.layouts import decode
from edgeagent.runtimes.detection.letterbox import Letterbox
from edgeagent.runtimes.detection.nms import suppress
from edgeagent.workers.channel import WorkerChannel, channel_pair
from edgeagent.workers.messages import Captured, Detected, Infer
from edgeagent.workers.messages import decode as read_message
from edgeagent.workers.source import Image
from edgeagent.workers.sources import open_source

_NODE_STAGES = ("wait", "pre", "infer", "post", "total")


class Stopwatch:
    """Processor microseconds by stage, one value a frame."""

    def __init__(self) -> None:
        self.stages: dict[str, list[float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        begin = time.process_time_ns()
        yield
        self.stages.setdefault(name, []).append((time.process_time_ns() - begin) / 1000)

    def medians(self) -> dict[str, float]:
        """Microseconds by stage. The first frames, in which buffers are made, are left out."""
        return {name: median(values[5:]) or 0.0 for name, values in self.stages.items()}


def run(bench: Bench) -> Section:
    """The capture worker's stages once, the engine worker's for each network, the messages between them."""
    rounds = 60 if bench.quick else 200
    video = film(bench.built)
    watch = Stopwatch()
    frames = _capture(watch, video, rounds)
    _messages(watch, rounds * 5)
    _record(watch, rounds * 5)
    common = watch.medians()
    large = networks.build(bench.built / "networks", networks.YOLO11N_320, networks.YOLOV8N_640)
    found = [networks.demo(), *large]
    engines = {w.name: _engine(w, frames, rounds if w.imgsz < 640 else rounds // 4) for w in found}
    rows: list[list[object]] = [
        ["capture worker", "take the next packet of 720p MPEG-4, decode it", *_same(common["grab"], found)],
        ["capture worker", "to BGR, into the ring's slot", *_same(common["retrieve"], found)],
        [
            "all three",
            "a message: encode, send, wake, receive, decode; four a frame",
            *_same(common["message"], found),
        ],
        ["engine worker", "letterbox: scale", *(f"{e['resize']:.0f}" for e in engines.values())],
        [
            "engine worker",
            "letterbox: colour planes as 0..1",
            *(f"{e['planes']:.0f}" for e in engines.values()),
        ],
        [
            "engine worker",
            "inference, ONNX Runtime, one thread",
            *(f"{e['run']:.0f}" for e in engines.values()),
        ],
        ["engine worker", "decode the head", *(f"{e['decode']:.0f}" for e in engines.values())],
        ["engine worker", "NMS", *(f"{e['nms']:.0f}" for e in engines.values())],
        ["node", "six metrics", *_same(common["metrics"], found)],
        ["node", "the record as JSON", *_same(common["record"], found)],
    ]
    ceilings = {
        name: e["run"] / (e["run"] + e["decode"] + e["nms"] + 2 * common["message"])
        for name, e in engines.items()
    }
    reach = ", ".join(f"{name} {value:.3f}" for name, value in ceilings.items())
    text = (
        "Processor time in µs a frame, medians; 1280×720 in, the engine worker has one inference thread. It "
        "letterboxes the next frame while the network runs on this one, where there is a core for it; inference, "
        "decode, NMS and two messages come one after the other. The share of inference in these is what end to end can "
        f"reach of the bare runtime: {reach}.\n\n" + table(("process", "stage", *engines), rows)
    )
    return Section(
        "Stages of a frame", text, [], {"common": common, "engines": engines, "ceilings": ceilings}
    )


def _same(value: float, found: list[Weights]) -> list[str]:
    return [f"{value:.0f}", *["same"] * (len(found) - 1)]


def _capture(watch: Stopwatch, video: Path, rounds: int) -> list[Image]:
    """Times the source as the capture worker uses it; returns a few of its frames."""
    source = open_source(str(video), 0, 10.0)
    slots = [np.empty((SIZE[1], SIZE[0], 3), np.uint8) for _ in range(8)]
    for i in range(rounds):
        with watch.stage("grab"):
            source.grab()
        with watch.stage("retrieve"):
            source.retrieve(slots[i % len(slots)])
    source.close()
    return slots


def _messages(watch: Stopwatch, rounds: int) -> None:
    """One hop: the worker's blocking end sends, the node's end reads. Both ends are here, so nobody is woken up."""
    ours, theirs = channel_pair()
    channel = WorkerChannel(theirs)
    kinds: list[Callable[[int], Any]] = [
        lambda i: Captured(1, i % 8, i, 0, *SIZE, 1.0, 1.0),
        lambda i: Detected(i, 1.0, 1.0, 1.0, bytes(24 * 3)),
        lambda i: Infer(i, 1, i % 8, *SIZE, 0.25, 0.45),
    ]
    for i in range(rounds):
        message = kinds[i % 3](i)
        with watch.stage("message"):
            channel.send(message)
            read_message(ours.recv(4096))
    ours.close()
    theirs.close()


def _record(watch: Stopwatch, rounds: int) -> None:
    metrics = Metrics()
    detection = {"cls": 0, "name": "scratch", "conf": 0.91, "xyxy": [1.0, 2.0, 3.0, 4.0]}
    for i in range(rounds):
        with watch.stage("metrics"):
            metrics.frame("line", "v1")
            for stage in _NODE_STAGES:
                metrics.latency("line", stage, 0.01)
        with watch.stage("record"):
            orjson.dumps({"pipeline": "line", "seq": i, "ts": 1.0, "detections": [detection] * 3})


def _engine(weights: Weights, frames: list[Image], rounds: int) -> dict[str, float]:
    """The engine worker's stages, one by one, as `Detector` strings them together."""
    watch = Stopwatch()
    detector = load_detector(weights.onnx, 1)
    letterbox = Letterbox((weights.imgsz, weights.imgsz))
    for i in range(rounds):
        image = frames[i % len(frames)]
        with watch.stage("letterbox"):
            geometry = letterbox.fill(image)
        height, width = geometry.scaled
        scaled = np.empty((height, width, 3), np.uint8)
        with watch.stage("resize"):
            cv2.resize(image, (width, height), dst=scaled, interpolation=cv2.INTER_LINEAR)
        with watch.stage("run"):
            raw = detector.runtime.run(letterbox.tensor)
        with watch.stage("decode"):
            found = decode(detector.layout, raw[0], 0.25)
        with watch.stage("nms"):
            suppress(found, 0.45)
    medians = watch.medians()
    return {**medians, "planes": max(medians["letterbox"] - medians["resize"], 0.0)}
