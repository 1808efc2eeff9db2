# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures of `docs/benchmarks/`. Drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INK, FAINT, OURS, THEIRS, BAD = "#1d2733", "#9aa5b1", "#1f77b4", "#8c96a3", "#d1495b"


@dataclass(frozen=True)
class Track:
    """One update strategy over time, seconds from its first promote shown.

    frames: (due, latency in ms); lost: due times of frames without a result; promoted: (time, wanted version).
    """

    name: str
    frames: Sequence[tuple[float, float]]
    lost: Sequence[float]
    promoted: Sequence[tuple[float, bool]]


def bars(path: Path, figures: Mapping[str, Mapping[str, float | None]]) -> None:
    """Frames a second: one panel a network, one bar a system and option."""
    names = sorted({name for values in figures.values() for name in values}, reverse=True)
    names = [*(n for n in names if not n.startswith("bare")), *(n for n in names if n.startswith("bare"))]
    colours = [INK if n.startswith("bare") else OURS if n.startswith("node") else THEIRS for n in names]
    figure = _figure(11, 4.5)
    panels = figure.subplots(1, len(figures), squeeze=False, sharey=True)[0]
    for axes, (network, values) in zip(panels, figures.items(), strict=True):
        shown = [values.get(name) or 0.0 for name in names]
        axes.barh(range(len(names)), shown, color=colours)
        axes.set_yticks(range(len(names)), names)
        for i, value in enumerate(shown):
            axes.text(value, i, f" {value:.0f}" if value else "", va="center", fontsize=8, color=INK)
        axes.set_title(network, loc="left", fontsize=10, fontweight="bold", color=INK)
        axes.set_xlim(0, max(shown) * 1.15)
        axes.tick_params(labelsize=8)
        _plain(axes)
    figure.supxlabel("frames a second, 720p file to boxes", fontsize=9, color=INK)
    _save(figure, path)


def tracks(path: Path, found: Sequence[Track], seconds: tuple[float, float], interval_ms: float) -> None:
    """Latency of each frame under each update strategy, with the promotes marked."""
    figure = _figure(11, 1.75 * len(found) + 0.6)
    panels = figure.subplots(len(found), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    low, high = seconds
    ceiling = max(
        (ms for track in found for due, ms in track.frames if low <= due <= high), default=interval_ms
    )
    for axes, track in zip(panels, found, strict=True):
        points = [(due, ms) for due, ms in track.frames if low <= due <= high]
        lost = [due for due in track.lost if low <= due <= high]
        for at, good in track.promoted:
            if low <= at <= high:
                axes.axvline(at, color=OURS if good else BAD, linewidth=1.2, alpha=0.7)
        axes.scatter(*zip(*points, strict=True), s=7, color=INK, linewidths=0) if points else None
        axes.scatter(lost, [ceiling * 1.12] * len(lost), marker="|", s=60, color=BAD, linewidths=1.2)
        axes.axhline(2 * interval_ms, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_title(
            f"{track.name}: {len(lost)} lost, worst {max((ms for _, ms in points), default=0):.0f} ms",
            loc="left", fontsize=10, fontweight="bold", color=INK,
        )  # fmt: skip
        axes.set_yscale("log")
        axes.set_ylim(interval_ms / 5, ceiling * 1.5)
        axes.set_ylabel("ms", fontsize=9)
        axes.set_xlim(low, high)
        axes.tick_params(labelsize=8)
        _plain(axes)
    panels[-1].set_xlabel(
        "seconds; blue lines: a good version is promoted, red lines: one that must be refused; red marks above: "
        "frames lost; dashed: late", fontsize=9, color=INK,
    )  # fmt: skip
    _save(figure, path)


def lines(
    path: Path, x: Sequence[float], panels: Mapping[str, Mapping[str, Sequence[float]]], xlabel: str
) -> None:
    """One panel a quantity, one line a series, over `x`."""
    figure = _figure(11, 3.4)
    for axes, (title, series) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for (name, values), colour in zip(series.items(), (OURS, INK, BAD, FAINT), strict=False):
            axes.plot(x, values, marker="o", markersize=4, color=colour, label=name)
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
        axes.set_ylim(0, 1.15 * max((v for values in series.values() for v in values), default=1.0))
        axes.set_xticks(list(x))
        axes.set_xlabel(xlabel, fontsize=9)
        axes.tick_params(labelsize=8)
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=8)
        _plain(axes)
    _save(figure, path)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
