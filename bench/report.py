# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a comparison hands in, and how it becomes `docs/benchmarks/README.md`."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import Noise


@dataclass(frozen=True)
class Bench:
    """What every comparison gets. scratch: a folder that is gone afterwards; built: networks and films, kept between
    runs; pictures: where pictures and tables go; quick: a check that everything runs, the figures mean little."""

    scratch: Path
    built: Path
    pictures: Path
    quick: bool

    @property
    def rounds(self) -> int:
        """How often each system has its turn."""
        return 1 if self.quick else 3


@dataclass(frozen=True)
class Target:
    """A figure to reach, and what was seen; holds is None where it was not measured, or says nothing."""

    what: str
    wanted: str
    seen: str
    holds: bool | None

    @classmethod
    def at_least(
        cls, what: str, limit: float, value: float | None, unit: str = "", most: float | None = None
    ) -> Target:
        """`value` must not be below `limit`. Above `most` it can't be: then it is noise, and decides nothing."""
        if value is not None and most is not None and value > most:
            return cls(what, f"≥ {limit:g}{unit}", f"{value:.3g}{unit}: more than can be, noise", None)
        return cls._of(what, "≥", limit, value, unit, value is not None and value >= limit)

    @classmethod
    def at_most(cls, what: str, limit: float, value: float | None, unit: str = "") -> Target:
        """`value` must not be above `limit`."""
        return cls._of(what, "≤", limit, value, unit, value is not None and value <= limit)

    @classmethod
    def _of(cls, what: str, sign: str, limit: float, value: float | None, unit: str, holds: bool) -> Target:
        seen = "not measured" if value is None else f"{value:.3g}{unit}"
        return cls(what, f"{sign} {limit:g}{unit}", seen, None if value is None else holds)


@dataclass(frozen=True)
class Section:
    """One comparison's result. text: markdown below the title; data: every figure, for machines."""

    title: str
    text: str
    targets: list[Target] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


Comparison = Callable[[Bench], Section]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table; every column but the first is aligned to the right."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" + "---:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def engine_parts(name: str) -> tuple[str, str]:
    """Runtime and precision of an engine's name in the status, such as `openvino-cpu-bf16`."""
    runtime, _, rest = name.partition("-")
    return runtime, rest.partition("-")[2] or "fp32"


def median(values: Sequence[float]) -> float | None:
    """The median; None of nothing."""
    return statistics.median(values) if values else None


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest, in percent of the median: how far rounds lie apart."""
    return 100 * (max(values) - min(values)) / statistics.median(values) if values else 0.0


def ratio(a: float | None, b: float | None) -> float | None:
    """a ÷ b, if there are both."""
    return a / b if a and b else None


def save(
    folder: Path, name: str, section: Section, machine: dict[str, str], noise: Noise, quick: bool
) -> None:
    """Keep a section as JSON, so that the page can be put together again after another one ran alone."""
    data = _load(folder)
    data[name] = {
        "when": time.strftime("%Y-%m-%d"),
        "machine": machine,
        "noise": asdict(noise),
        "quick": quick,
        **asdict(section),
    }
    (folder / "results.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")


def write_page(folder: Path, order: Sequence[str]) -> Path:
    """`README.md` in `folder`, from every section that was kept there."""
    data = _load(folder)
    sections = [data[name] for name in order if name in data]
    parts = [_HEAD]
    for machine in _distinct([s["machine"] for s in sections]):
        parts.append(table(("", "machine"), list(machine.items())))
    rows = [
        (t["what"], t["wanted"], t["seen"], {True: "yes", False: "**no**", None: "–"}[t["holds"]])
        for s in sections
        for t in s["targets"]
    ]
    if rows:
        parts += ["## To reach\n", table(("what", "wanted", "seen", "holds"), rows)]
    for s in sections:
        quick = (
            " **A quick run: it shows that the comparison works, its figures mean little.**"
            if s["quick"]
            else ""
        )
        noise = Noise(**s["noise"])
        parts += [f"## {s['title']}\n", s["text"], f"<sub>{s['when']}; {noise}.{quick}</sub>\n"]
    page = folder / "README.md"
    page.write_text("\n".join(parts), "utf-8")
    return page


_HEAD = """# Benchmarks

Written by `make bench`; the figures are in `results.json` too. Each comparison runs its systems in turn, several
rounds, in one go on one machine; shown are medians. The machine is shared with others: compare within a table, not
between days. Networks called YOLO… have the architecture of that name and random weights with calibrated
normalisation: what they cost is real, what they detect is nothing. Where a second passes is told by stage in
[performance.md](../performance.md).
"""


def _load(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    data: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return data


def _distinct(machines: list[dict[str, str]]) -> list[dict[str, str]]:
    return [m for i, m in enumerate(machines) if m not in machines[:i]]


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else (f"{value:.0f}" if isinstance(value, float) else str(value))
    )
