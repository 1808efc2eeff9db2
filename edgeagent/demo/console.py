# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a visitor sees: the scenario line by line, and below it, on a terminal, the line as it runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgeagent.cli.tables import printable, use_plain_characters
from edgeagent.demo.measurements import Measurements, Recall, Seen, latency_ms
from edgeagent.status.schema import ModelStatus

GOOD, BAD, NEUTRAL = "good", "bad", "neutral"
COLOURS = {"v1": "yellow", "v2": "green"}
_MARKS = {GOOD: ("✓", "green"), BAD: ("✗", "red"), NEUTRAL: ("·", "dim")}
_REFRESH_S = 0.25
_PLAIN_EVERY_S = 5.0
_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_TOP_MS = 100.0
_SPARK_HEAD = 15  # characters of label and frame beside the sparkline


@dataclass(frozen=True)
class View:
    """What there is to show: seconds so far and planned, the part of the node's status about the model."""

    elapsed: float
    planned: float
    url: str
    model: ModelStatus | None
    measurements: Measurements


class Console:
    """Output of the demo. Off a terminal it prints plain lines, and one about the line every five seconds."""

    def __init__(self, console: RichConsole | None = None) -> None:
        use_plain_characters()  # a terminal without ✓ is no reason to stop
        self._console = console or RichConsole(highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._shown = time.monotonic()

    def __enter__(self) -> Console:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop"
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """The line isn't shown any more; what is said afterwards stays. Idempotent."""
        if self._live:
            self._live.stop()
            self._live = None

    def act(self, title: str) -> None:
        """A new part of the scenario."""
        self._print(Text(f"\n{title}", style="bold"))

    def command(self, text: str) -> None:
        """What an operator would type."""
        self._print(Text.assemble(("  $ ", "dim"), (text, "cyan")))

    def tell(self, text: str, mood: str = NEUTRAL) -> None:
        """What came of it; folded under its own indent."""
        mark, style = _MARKS[mood]
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text("  " + mark, style=style), Text(printable(text)))
        self._print(grid if self._console.is_terminal else Text(f"  {mark} {printable(text)}"))

    def table(self, renderable: RenderableType) -> None:
        """A table, as it is."""
        self._print(renderable)

    def show(self, view: View) -> None:
        """The line as it runs. Cheap to call often: it draws when the time has come."""
        now = time.monotonic()
        if now - self._shown < (_REFRESH_S if self._live else _PLAIN_EVERY_S):
            return
        self._shown = now
        if self._live:
            self._live.update(panel(view, self._console.width), refresh=True)
        else:
            self._print(Text("    " + plain(view)))

    def _print(self, renderable: RenderableType) -> None:
        # Off a terminal a line stays a line, however long: that's what grep wants.
        self._console.print(renderable, soft_wrap=not self._console.is_terminal)


def plain(view: View) -> str:
    """The line as it runs, in one line of text."""
    measurements = view.measurements
    active = view.model.active if view.model else None
    state = view.model.state if view.model else ""
    recalls = (
        f"{v} {measurements.recall(v, False)} (tiny {measurements.recall(v, True)})"
        for v in measurements.versions
    )
    return (
        f"{view.elapsed:4.0f} s  {active.version if active else 'no model'} {state}  "
        f"{measurements.fps():.1f} frames/s, {len(measurements.frames)} frames, {measurements.lost} lost; "
        f"recall {', '.join(recalls) or '–'}"
    )


def panel(view: View, width: int) -> Panel:
    """The line as it runs, for a terminal `width` columns wide."""
    measurements = view.measurements
    body = Group(
        _facts(view),
        Text(),
        _recalls(measurements, _bar_width(width)),
        Text(),
        Text("latency ").append_text(sparkline(measurements.frames, min(width, 120) - _SPARK_HEAD)),
    )
    clock = f"{view.elapsed:.0f} of about {view.planned:.0f} s"
    return Panel(
        body,
        title=Text("edgeagent · packaging line", style="bold"),
        subtitle=Text(f"{clock} · {view.url}", style="dim"),
        width=min(width, 120),
        border_style="blue",
        padding=(0, 1),
    )


def _facts(view: View) -> Table:
    measurements, model = view.measurements, view.model
    active = model.active if model else None
    version = active.version if active else "–"
    recent = measurements.frames[-150:]
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_row(
        Text.assemble("serving ", (version, f"bold {COLOURS.get(version, 'white')}")),
        Text.assemble("state ", (model.state if model else "–", "bold")),
        Text(f"epoch {active.epoch if active else '–'}"),
        Text(_aside(model) if model else "", style="dim", no_wrap=True),
    )
    lost = measurements.lost
    grid.add_row(
        Text(f"frames  {len(measurements.frames)}"),
        Text(f"{measurements.fps():.1f} a second"),
        Text.assemble((f"lost {lost}", "bold green" if not lost else "bold red")),
        Text(f"latency p50 {_ms(latency_ms(recent, 0.5))}, p99 {_ms(latency_ms(recent, 0.99))}"),
    )
    return grid


def _aside(model: ModelStatus) -> str:
    if candidate := model.candidate:
        gate = f" {candidate.gate}" if candidate.gate else ""
        return f"next {candidate.version}: {candidate.stage.lower()}{gate}"
    if model.standby:
        return f"standby {model.standby.version}, warm"
    if model.held:
        return f"held on {model.held.version} by {model.held.kind}"
    return ""


def _recalls(measurements: Measurements, bar: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row(
        Text("recall", style="bold"), Text("all defects", style="dim"), Text("tiny defects", style="dim")
    )
    for version in ("v1", "v2"):
        colour = COLOURS[version]
        cells = (_bar(measurements.recall(version, tiny), bar, colour) for tiny in (False, True))
        table.add_row(Text(f"  {version}", style=f"bold {colour}"), *cells)
    return table


def _bar(recall: Recall, width: int, colour: str) -> Text:
    filled = round((recall.share or 0) * width)
    return Text.assemble(("━" * filled, colour), ("━" * (width - filled), "bright_black"), f" {recall!s:>4}")


def _bar_width(width: int) -> int:
    return max(8, (min(width, 120) - 32) // 2)


def sparkline(frames: Sequence[Seen], width: int) -> Text:
    """The worst latency of each half second, newest at the right, in the colour of its version; full is 100 ms."""
    slots: dict[int, tuple[float, str]] = {}
    for frame in reversed(frames):
        slot = int(frame.done * 2)
        if slot not in slots and len(slots) == width:
            break
        worst, version = slots.get(slot, (0.0, frame.version))
        slots[slot] = (max(worst, frame.latency_ms), version)
    text = Text()
    for slot in sorted(slots):
        worst, version = slots[slot]
        level = min(len(_BLOCKS) - 1, int(worst / _SPARK_TOP_MS * len(_BLOCKS)))
        text.append(_BLOCKS[level], COLOURS.get(version, "white"))
    return text


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"
