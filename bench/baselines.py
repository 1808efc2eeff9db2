# SPDX-License-Identifier: AGPL-3.0-or-later
"""The usual ways to swap a model in a Python program, each with this project's detector, camera and buffer, so that
only the strategy of the update differs.

`python -m bench.baselines METHOD …` films, detects and records until it is killed; a line on stdin is a weights file
to change to, a line of JSON on stdout says what came of it.

- thread: a manager as tutorials show it. A thread loads the new model beside the one that serves, swaps a reference
  under an RLock, and five seconds later deletes the old one, collects garbage and empties CUDA's cache.
- pause: the loop stops, loads, and goes on.
- restart: no update at all: the program is stopped and started with other weights by whoever runs it (`update.py`).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol

from bench.detectors import Detector, load_detector
from edgeagent.errors import EdgeAgentError
from edgeagent.workers.source import Image
from edgeagent.workers.sources import open_source

BUFFER_FRAMES = 3  # as many as this node holds of a live line: two with the engine, one that waits
_CATCH_UP_FRAMES = 4  # a camera and its driver buffer a few frames too, see edgeagent.workers.frame_pacer
_DELETE_AFTER_S = 5.0


class Manager(Protocol):
    """Owns the model that serves."""

    def current(self) -> tuple[Detector, str]:
        """The detector for the next frame, and the name of its weights. May block while it changes them."""

    def change(self, weights: Path) -> None:
        """Serve with these weights from some time on. Called from another thread than `current`."""


class ThreadAndLock:
    """Loads in a thread of this process, swaps under a lock, deletes the old model later."""

    def __init__(self, weights: Path, threads: int) -> None:
        self._threads = threads
        self._lock = threading.RLock()
        self._model: Detector | None = load_detector(weights, threads)
        self._name = weights.stem

    def current(self) -> tuple[Detector, str]:
        with self._lock:
            assert self._model is not None
            return self._model, self._name

    def change(self, weights: Path) -> None:
        threading.Thread(target=self._load, args=(weights,), daemon=True).start()

    def _load(self, weights: Path) -> None:
        try:
            model = load_detector(weights, self._threads)
        except EdgeAgentError as e:
            _say("failed", weights, str(e))
            return
        with self._lock:
            old, self._model = self._model, model
            self._name = weights.stem
        _say("active", weights)
        cleaner = threading.Timer(_DELETE_AFTER_S, _delete, ([old],))
        cleaner.daemon = True
        cleaner.start()


class Pause:
    """Stops for the time that loading takes; goes on with the old model when it fails."""

    def __init__(self, weights: Path, threads: int) -> None:
        self._threads = threads
        self._model = load_detector(weights, threads)
        self._name = weights.stem
        self._wanted: deque[Path] = deque()

    def current(self) -> tuple[Detector, str]:
        while self._wanted:
            weights = self._wanted.popleft()
            try:
                self._model, self._name = load_detector(weights, self._threads), weights.stem
            except EdgeAgentError as e:
                _say("failed", weights, str(e))
                continue
            gc.collect()
            _say("active", weights)
        return self._model, self._name

    def change(self, weights: Path) -> None:
        self._wanted.append(weights)


class Camera:
    """The synthetic line on a clock that started at `origin`: frame k is due at origin + k / fps, whatever happens
    here. The oldest frame gives way when the buffer is full."""

    def __init__(self, fps: float, origin: float) -> None:
        self._fps, self._origin = fps, origin
        self._frames: deque[tuple[int, float, Image]] = deque(maxlen=BUFFER_FRAMES)
        self._ready = threading.Semaphore(0)
        threading.Thread(target=self._film, daemon=True).start()

    def take(self) -> tuple[int, float, Image]:
        """The oldest frame that waits: its number, when it was due, its pixels."""
        while True:
            self._ready.acquire()
            try:
                return self._frames.popleft()
            except IndexError:
                continue  # it has given way

    def _film(self) -> None:
        source = open_source(f"synthetic://conveyor?fps={self._fps}", self._fps, 10.0)
        index = self._due_now() + 1
        while True:
            wait_s = self._origin + index / self._fps - time.time()
            if wait_s > 0:
                time.sleep(wait_s)
            elif self._due_now() - index > _CATCH_UP_FRAMES:
                index = self._due_now()
            source.seek(index, lambda: None)
            source.grab()
            self._frames.append((index, self._origin + index / self._fps, source.retrieve(None)))
            self._ready.release()
            index += 1

    def _due_now(self) -> int:
        return int((time.time() - self._origin) * self._fps)


def _delete(old: list[Any]) -> None:
    old.clear()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _say(event: str, weights: Path, why: str = "") -> None:
    print(json.dumps({"event": event, "version": weights.stem, "t": time.time(), "why": why}), flush=True)


def _obey(manager: Manager) -> None:
    for line in sys.stdin:
        manager.change(Path(line.strip()))
    os._exit(0)  # whoever started this is gone


def main() -> None:
    """Film, detect, record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=["thread", "pause", "restart"])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--fps", type=float, required=True)
    parser.add_argument("--origin", type=float, required=True, help="Unix seconds at which frame 0 was due")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--with-torch", action="store_true", help="import torch, whatever runs the network")
    arguments = parser.parse_args()
    if arguments.with_torch:
        import torch  # noqa: F401  (so that the process has it, as one that uses ultralytics has)
    method = ThreadAndLock if arguments.method == "thread" else Pause
    try:
        manager: Manager = method(arguments.weights, arguments.threads)
    except EdgeAgentError as e:
        _say("failed", arguments.weights, str(e))
        sys.exit(1)
    threading.Thread(target=_obey, args=(manager,), daemon=True).start()
    camera = Camera(arguments.fps, arguments.origin)
    with arguments.out.open("ab", buffering=0) as out:
        while True:
            seq, due, image = camera.take()
            detector, version = manager.current()
            found = detector.detect(image, 0.25, 0.45)
            record = {
                "seq": seq,
                "ts": due,
                "version": version,
                "latency_ms": (time.time() - due) * 1000,
                "detections": found.boxes.tolist(),
            }
            out.write(json.dumps(record).encode() + b"\n")


if __name__ == "__main__":
    main()
