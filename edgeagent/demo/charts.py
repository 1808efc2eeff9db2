# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures of a run: what happened to latency and recall, and one tiny defect before and after the swap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.demo.measurements import Measurements, counted, found_in, rolling_recall
from edgeagent.demo.scenario import Change
from edgeagent.demo.scoring import match
from edgeagent.scenes.carton import Image
from edgeagent.scenes.conveyor import CLASSES, Truth

PAIR_FRAMES = 60  # how far from the swap a frame of the pair may be
EDGE_PX = 70  # and the defect from the left and right edge of the frame
RECALL_FRAMES = 120
_INK, _FAINT, _GRID = "#1d2733", "#6b7785", "#e3e7ec"
_COLOURS = {"v1": "#e08a00", "v2": "#1f9d61"}
_BAD = "#cf3340"
_CHARACTER = 0.0071  # of the width of the axes, in the labels above


@dataclass(frozen=True)
class Shot:
    """One frame with a tiny defect, and what the version of its record made of it."""

    record: Mapping[str, Any]
    truth: Truth
    found: bool
    confidence: float


def find_pair(
    records: Iterable[Mapping[str, Any]], truth: Callable[[int], Sequence[Truth]], width: int
) -> tuple[Shot, Shot] | None:
    """Two frames of one carton, around a swap from v1 to v2: v1 misses its tiny defect, v2 finds it. Pure.

    width: of the frames, in pixels. Of several, that with the surest detection. None when no such defect
    was in view at any such swap.
    """

    def shots(record: Mapping[str, Any]) -> list[Shot]:
        return _shots(record, truth(record["seq"]), width)

    window: deque[Mapping[str, Any]] = deque(maxlen=PAIR_FRAMES)
    before: list[Mapping[str, Any]] = []
    after: list[Mapping[str, Any]] = []
    pairs: list[tuple[Shot, Shot]] = []
    for record in records:
        if window and (window[-1]["version"], record["version"]) == ("v1", "v2"):
            before, after = list(window), []
        if before:
            after.append(record)
            if len(after) == PAIR_FRAMES or record["version"] != "v2":
                pairs += _pairs(before, after, shots)
                before = []
        window.append(record)
    if before:
        pairs += _pairs(before, after, shots)
    return max(pairs, key=lambda p: p[1].confidence, default=None)


def _pairs(
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    shots: Callable[[Mapping[str, Any]], list[Shot]],
) -> list[tuple[Shot, Shot]]:
    missed: dict[tuple[int, int], Shot] = {}  # the last frame before the swap that shows it
    for record in before:
        if record["version"] == "v1":
            missed.update({_key(s.truth): s for s in shots(record)})
    found: dict[tuple[int, int], Shot] = {}
    for record in after:
        if record["version"] == "v2":
            for shot in shots(record):
                best = found.get(_key(shot.truth))
                if shot.found and (best is None or shot.confidence > best.confidence):
                    found[_key(shot.truth)] = shot
    return [(shot, found[key]) for key, shot in missed.items() if not shot.found and key in found]


def _key(truth: Truth) -> tuple[int, int]:
    return truth.part, truth.cls


def _shots(record: Mapping[str, Any], truths: Sequence[Truth], width: int) -> list[Shot]:
    """The tiny defects well inside the frame, each the only one of its class on its carton."""
    keys = [_key(t) for t in truths]
    found = found_in(record)
    hits = match(truths, found)
    shots = []
    for t in truths:
        inside = t.xyxy[0] > EDGE_PX and t.xyxy[2] < width - EDGE_PX
        if t.tiny and inside and keys.count(_key(t)) == 1:
            confidence = max((c for cls, c, box in found if match([t], [(cls, c, box)])), default=0.0)
            shots.append(Shot(record, t, t in hits, confidence))
    return shots


def draw_run(path: Path, measurements: Measurements, changes: Sequence[Change]) -> Path:
    """Latency of each frame with the swaps marked, and recall over time. Returns `path`. Raises OSError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frames = measurements.frames
    start = frames[0].done
    times = [f.done - start for f in frames]
    figure = Figure(figsize=(13, 7.6), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(
        2,
        1,
        sharex=True,
        gridspec_kw={"hspace": 0.12, "left": 0.065, "right": 0.985, "top": 0.83, "bottom": 0.075},
    )
    for axes in (top, bottom):
        _plain_axes(axes)
        _shade_versions(axes, measurements, start)
    _latency(top, measurements, times)
    top.set_xlim(times[0], max(times[-1], times[0] + 1))
    _changes(top, changes, start)
    _recall(bottom, measurements, times)
    figure.suptitle(
        f"{len(frames)} frames at {measurements.fps():.0f} a second, {len(measurements.swaps)} swaps of the model, "
        f"{counted(measurements.lost, 'frame')} lost",
        x=0.065, y=0.97, ha="left", fontsize=17, fontweight="bold", color=_INK,
    )  # fmt: skip
    figure.savefig(path)
    return path


def _plain_axes(axes: Any) -> None:
    axes.grid(True, axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.tick_params(colors=_FAINT, length=0)


def _shade_versions(axes: Any, measurements: Measurements, start: float) -> None:
    frames = measurements.frames
    edges = [frames[0].done, *(s.done for s in measurements.swaps), frames[-1].done]
    names = [frames[0].version, *(s.after for s in measurements.swaps)]
    for name, left, right in zip(names, edges, edges[1:], strict=False):
        axes.axvspan(left - start, right - start, color=_COLOURS.get(name, _FAINT), alpha=0.09, linewidth=0)
    for swap in measurements.swaps:
        axes.axvline(swap.done - start, color=_INK, linewidth=1.1, alpha=0.75)


def _latency(axes: Any, measurements: Measurements, times: Sequence[float]) -> None:
    for version in measurements.versions:
        points = [
            (t, f.latency_ms) for t, f in zip(times, measurements.frames, strict=True) if f.version == version
        ]
        colour = _COLOURS.get(version, _FAINT)
        axes.scatter(*zip(*points, strict=True), s=7, color=colour, linewidths=0, label=version)
    ordered = sorted(f.latency_ms for f in measurements.frames)
    axes.set_ylim(0, max(50.0, ordered[-1] * 1.15))
    axes.set_ylabel("latency of each frame, ms", color=_INK)


def _changes(axes: Any, changes: Sequence[Change], start: float) -> None:
    """Above the axes what was asked and came of it; a bar from the asking to the swap or the refusal."""
    taken = [float("-inf"), float("-inf")]  # how far each of the two rows of labels is written
    span = axes.get_xlim()[1] - axes.get_xlim()[0]
    for change in changes:
        if not change.result:
            continue
        asked, at = max(0.0, change.asked - start), change.at - start
        refused = change.result in ("refused", "taken back")
        colour = _BAD if refused else _COLOURS.get(change.version, _FAINT)
        line = 1.022
        axes.plot(
            [asked, at], [line, line], transform=axes.get_xaxis_transform(), color=colour, linewidth=4,
            solid_capstyle="butt", clip_on=False,
        )  # fmt: skip
        if refused:
            label = f"{change.version}\n{change.result}"
        elif change.kind == "roll back":
            label = f"roll back\n{change.serving_ms:.0f} ms"
        elif change.gap_ms is None:
            label = change.version
        else:
            label = f"{change.version}\ngap {change.gap_ms:.0f} ms"
        row = 0 if asked > taken[0] else 1
        taken[row] = asked + max(map(len, label.split("\n"))) * span * _CHARACTER
        axes.text(
            asked, 1.04 + row * 0.12, label, transform=axes.get_xaxis_transform(), fontsize=9, color=colour,
            fontweight="bold", va="bottom", ha="left", linespacing=1.15,
        )  # fmt: skip


def _recall(axes: Any, measurements: Measurements, times: Sequence[float]) -> None:
    shares = rolling_recall(measurements.frames, RECALL_FRAMES)
    nan = float("nan")
    breaks = {s.seq for s in measurements.swaps}
    for index, style, width, name in (
        (0, (0, (4, 2)), 1.4, "all defects"),
        (1, "solid", 2.6, "tiny defects"),
    ):
        x: list[float] = []
        y: list[float] = []
        for t, frame, share in zip(times, measurements.frames, shares, strict=True):
            if frame.seq in breaks:
                x.append(t)
                y.append(nan)
            value = share[index]
            x.append(t)
            y.append(nan if value is None else value * 100)
        colour = _INK if index else _FAINT
        axes.plot(x, y, color=colour, linestyle=style, linewidth=width, label=name)
    for version in measurements.versions:
        own = [t for t, f in zip(times, measurements.frames, strict=True) if f.version == version]
        recall = measurements.recall(version, True)
        axes.text(
            own[0] + 0.15, 10, f"{version}: {recall} of the tiny defects", fontsize=10, fontweight="bold",
            color=_COLOURS.get(version, _FAINT), ha="left", va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2.5},
        )  # fmt: skip
    axes.set_ylim(-4, 104)
    axes.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_ylabel(f"recall over the last {RECALL_FRAMES / 30:.0f} s", color=_INK)
    axes.set_xlabel("seconds", color=_INK)
    axes.legend(
        loc="lower right", frameon=True, facecolor="white", edgecolor="none", fontsize=10, labelcolor=_INK
    )


def draw_before_after(path: Path, pair: tuple[Shot, Shot], frame: Callable[[int], Image]) -> Path:
    """The two frames of `find_pair` side by side, with what was detected, and the defect magnified.

    frame(index) gives the picture, height×width×3 BGR. Returns `path`. Raises OSError.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.95), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    both = figure.subplots(
        1, 2, gridspec_kw={"left": 0.01, "right": 0.99, "top": 0.83, "bottom": 0.02, "wspace": 0.03}
    )
    for axes, shot in zip(both, pair, strict=True):
        _shot(axes, shot, frame(shot.record["seq"])[:, :, ::-1])
    truth = pair[0].truth
    figure.suptitle(
        f"The same carton before and after the swap: a tiny {CLASSES[truth.cls]}",
        x=0.01, y=0.965, ha="left", fontsize=17, fontweight="bold", color=_INK,
    )  # fmt: skip
    figure.savefig(path)
    return path


def _shot(axes: Any, shot: Shot, image: Any) -> None:
    from matplotlib.patches import Rectangle

    record, (x0, y0, x1, y1) = shot.record, shot.truth.xyxy
    colour = _COLOURS.get(record["version"], _FAINT)
    side = max(x1 - x0, y1 - y0) * 2.2
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    right = middle[0] < image.shape[1] / 2
    inset = axes.inset_axes((0.70 if right else 0.01, 0.36 if middle[1] > 180 else 0.02, 0.29, 0.29 * 16 / 9))
    inset.set_xlim(middle[0] - side / 2, middle[0] + side / 2)
    inset.set_ylim(middle[1] + side / 2, middle[1] - side / 2)
    for target in (axes, inset):
        target.imshow(image, interpolation="lanczos" if target is inset else "antialiased", aspect="auto")
        target.set_xticks([])
        target.set_yticks([])
        for d in record["detections"]:
            a, b, c, e = d["xyxy"]
            target.add_patch(Rectangle((a, b), c - a, e - b, fill=False, edgecolor=colour, linewidth=2))
            if target is axes:
                target.text(
                    a, b - 4, f"{d['name'].replace('_', ' ')} {d['conf']:.2f}", fontsize=8, color="white",
                    bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.2}, va="bottom", clip_on=True,
                )  # fmt: skip
        if not shot.found:
            target.add_patch(
                Rectangle(
                    (x0, y0),
                    x1 - x0,
                    y1 - y0,
                    fill=False,
                    edgecolor=_BAD,
                    linewidth=2,
                    linestyle=(0, (2, 1.4)),
                )
            )
    inset.set_xlim(middle[0] - side / 2, middle[0] + side / 2)
    inset.set_ylim(middle[1] + side / 2, middle[1] - side / 2)
    for spine in inset.spines.values():
        spine.set_edgecolor("white")
        spine.set_linewidth(2)
    axes.indicate_inset_zoom(inset, edgecolor="white", alpha=0.7, linewidth=1)
    outcome = f"found, confidence {shot.confidence:.2f}" if shot.found else "missed"
    axes.set_title(
        f"{record['version']}, frame {record['seq']}: {outcome}",
        loc="left", fontsize=13, color=colour if shot.found else _BAD, fontweight="bold",
    )  # fmt: skip
