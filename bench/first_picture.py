# SPDX-License-Identifier: AGPL-3.0-or-later
"""`python -m bench.first_picture`: seconds from `edgeagent run` until the page shows a picture with boxes.

The node has one line and a version that is published and promoted, and no state: nothing was ever loaded or tuned.
Beside it a headless Chromium, at the priority of everything else. Each run starts the node twice, from no state both
times: once the page is opened at that moment, and loaded again twice a second until the node answers; once it was
left open while the node was away, and comes back by itself. Files that were read before are in the memory of the
machine.

What counts is what can be seen: the page's image is loaded and uncovered, and its pixels, read from a canvas, have in
them the colours in which boxes and labels are drawn. A picture of the same line that was asked for without boxes must
not have them, which is looked at after each start.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import networks
from bench.bench_node import result_time
from bench.browser import DESKTOP, headless_chromium
from bench.etcd_server import free_port
from bench.machine import NoiseMeter, describe
from bench.page import put
from bench.report import table
from edgeagent.testing import PIPELINE, NodeRunner
from edgeagent.workers.colours import OF_CLASSES

BOUND_S = {".onnx": 10.0, ".pt": 30.0}
RUNS = 5
OPENED, LEFT_OPEN = "opened at the start", "left open, node away before"
_SOURCE = "synthetic://conveyor?fps=10"
_FPS = 10
_MODEL, _VERSION = "yolo", "v1"
_AWAY_S = 20.0
"""How long a page is left without its node, which is as long as its waiting grows."""
_RELOAD_S, _LOOK_S, _PATIENCE_S = 0.5, 0.1, 180.0
_NEAR = 20
"""By how much each of red, green and blue may differ from a colour: what JPEG costs within a label."""
_LEAST = 0.001
"""Of the picture, to be in such a colour: less than half of what one label has."""
_SHARE = """(image) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const near = (i, colour) => colour.every((value, k) => Math.abs(data[i + k] - value) <= NEAR);
  let found = 0;
  for (let i = 0; i < data.length; i += 4) if (COLOURS.some((colour) => near(i, colour))) found += 1;
  return (4 * found) / data.length;
}""".replace("NEAR", str(_NEAR)).replace("COLOURS", json.dumps([colour[::-1] for colour in OF_CLASSES]))
_SHOWN = f"""() => {{
  const image = document.querySelector("figure.picture:not(.is-covered) img:not(.unshown)");
  return image && image.naturalWidth > 1 ? ({_SHARE})(image) : -1;
}}"""
_BARE = f"""async (address) => {{
  const image = new Image();
  image.src = new URL(address, document.baseURI);
  await image.decode();
  return ({_SHARE})(image);
}}"""


@dataclass(frozen=True)
class Start:
    """Seconds from the start of the node: until a frame had its first result, any picture was on the page, and one with
    boxes was."""

    result_s: float
    picture_s: float
    boxes_s: float


@dataclass(frozen=True)
class Starts:
    """All of one kind. network: name of its file; page: how the page came to look."""

    network: str
    page: str
    bound_s: float
    starts: tuple[Start, ...]

    @property
    def holds(self) -> bool:
        """Whether the slowest was fast enough."""
        return max(start.boxes_s for start in self.starts) <= self.bound_s


def main() -> int:
    """Measure, print, and return the exit code: 1 when a bound is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, action="append", help=".onnx or .pt; default: the demo's, both")
    parser.add_argument("--video", type=Path, help="a film for the line; default: the demo's scene")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each network (default: {RUNS})")
    parser.add_argument("--page", type=Path, help="a page with a place for the table: docs/performance.md")
    parser.add_argument("--out", type=Path, help="a folder for first_picture.json")
    arguments = parser.parse_args()
    demo = networks.demo()
    models = arguments.model or [demo.onnx, demo.pt]
    if wrong := [str(model) for model in models if model.suffix not in BOUND_S]:
        parser.error(f"{', '.join(wrong)}: neither .onnx nor .pt")
    machine, noise = describe(), NoiseMeter()
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    found = [starts for model in models for starts in measure(model, arguments.video, arguments.runs)]
    text = show(found)
    print(f"\n{text}\n{noise.read()}", flush=True)
    if arguments.page:
        put(arguments.page, "first", f"{text}\n<sub>{machine['processor']}</sub>\n", of="view")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        kept = {"machine": machine, "found": list(map(asdict, found))}
        (arguments.out / "first_picture.json").write_text(json.dumps(kept, indent=1) + "\n")
    return 0 if all(starts.holds for starts in found) else 1


def measure(model: Path, video: Path | None, runs: int) -> list[Starts]:
    """Both kinds of start of a network, by turns."""
    found: dict[str, list[Start]] = {OPENED: [], LEFT_OPEN: []}
    with (
        tempfile.TemporaryDirectory(prefix="first-picture-") as folder,
        line(Path(folder), model, video) as node,
    ):
        for number in range(runs):
            with looking(node.url) as look:
                found[OPENED].append(start(node, look, opens=True))
                time.sleep(_AWAY_S)
                found[LEFT_OPEN].append(start(node, look, opens=False))
            print(f"{model.name}: run {number + 1} of {runs} is done", file=sys.stderr, flush=True)
    bound_s = BOUND_S[model.suffix]
    return [Starts(model.name, page, bound_s, tuple(starts)) for page, starts in found.items()]


@contextmanager
def line(folder: Path, model: Path, video: Path | None) -> Iterator[NodeRunner]:
    """A node that isn't started yet, with everything that it needs."""
    port = free_port()
    with NodeRunner(folder, {"engine": {"backend": "auto"}, "api": {"port": port}}) as node:
        node.url = f"http://127.0.0.1:{port}"
        source = {"url": str(video.resolve()), "loop": True, "fps": _FPS} if video else {"url": _SOURCE}
        node.add_pipeline(PIPELINE, _MODEL, {**source, "live": True})
        node.publish(_VERSION, model, _MODEL)
        node.promote(_VERSION, _MODEL)
        yield node


def start(node: NodeRunner, look: Callable[[bool], Future[tuple[float, float]]], opens: bool) -> Start:
    """Start the node from nothing, and stop it when the picture was seen. opens: the page, in that moment."""
    shutil.rmtree(node.folder / "state", ignore_errors=True)
    node.forget_records()
    began, began_at = time.monotonic(), time.time()
    seen = look(opens)
    node.start()
    picture, boxes = seen.result()
    node.stop()
    first = min(map(result_time, node.records()))
    return Start(first - began_at, picture - began, boxes - began)


@contextmanager
def looking(url: str) -> Iterator[Callable[[bool], Future[tuple[float, float]]]]:
    """A browser that looks when it is told to, in a thread of its own: a node ends with the thread that started it."""
    with ThreadPoolExecutor(1) as thread:
        browser = headless_chromium()
        page = thread.submit(lambda: browser.__enter__().new_context(viewport=DESKTOP).new_page()).result()
        try:
            yield lambda opens: thread.submit(_look, page, url if opens else "")
        finally:
            thread.submit(browser.__exit__, None, None, None).result()


def _look(page: Any, url: str) -> tuple[float, float]:
    """When a picture was seen, and one with boxes. url: to be opened first, "" where the page is open."""
    deadline = time.monotonic() + _PATIENCE_S
    if url:
        _open(page, url, deadline)
    picture = 0.0
    while (share := float(page.evaluate(_SHOWN))) < _LEAST:
        if time.monotonic() > deadline:
            raise SystemExit(f"no picture with boxes within {_PATIENCE_S:g} s")
        picture = picture or (time.monotonic() if share >= 0 else 0.0)
        time.sleep(_LOOK_S)
    boxes = time.monotonic()
    bare = float(page.evaluate(_BARE, f"api/pipelines/{PIPELINE}/snapshot.jpg?boxes=false"))
    if bare >= _LEAST:  # it would have been taken for one with boxes
        raise SystemExit(f"without boxes {bare:.2%} of the picture has their colours: take another video")
    return picture or boxes, boxes


def _open(page: Any, url: str, deadline: float) -> None:
    """As somebody does who loads the page again and again until it is there."""
    from playwright.sync_api import Error

    while True:
        try:
            page.goto(url, wait_until="commit")
            return
        except Error:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RELOAD_S)


def show(found: Sequence[Starts]) -> str:
    """A row for each network and kind of start, and what the rows say."""
    rows = []
    for kind in found:
        boxes = [start.boxes_s for start in kind.starts]
        result, picture = (
            statistics.median(getattr(start, name) for start in kind.starts)
            for name in ("result_s", "picture_s")
        )
        rows.append(
            (
                kind.network,
                kind.page,
                len(boxes),
                f"{result:.1f} s",
                f"{picture:.1f} s",
                f"{statistics.median(boxes):.1f} s",
                f"{min(boxes):.1f}–{max(boxes):.1f} s",
                f"≤ {kind.bound_s:g} s: {'holds' if kind.holds else 'does not hold'}",
            )
        )
    of = ("first result", "a picture", "a picture with boxes", "least–most", "wanted, at most")
    return table(("network", "page", "starts", *of), rows)


if __name__ == "__main__":
    sys.exit(main())
