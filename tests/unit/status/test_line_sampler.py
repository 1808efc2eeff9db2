# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the sampler tells of lines and swaps, over pipelines that only count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgeagent.observe.audit import AuditRecord
from edgeagent.observe.bus import AuditAppended, Bus, Swapped
from edgeagent.status.line_sampler import MAX_SWAPS, LineSampler, SwapSeen


class Line:
    """A pipeline of model `yolo`."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(model="yolo")
        self.results = 0
        self.dropped: dict[str, int] = {}
        self.asked_of = 0

    def latency_quantiles(self, *shares: float, of: int) -> list[float | None]:
        self.asked_of = of
        return [share / 10 for share in shares]


class Site:
    """Lines, their clocks, and what the sampler told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = 1_700_000_000.0
        self.bus = Bus()
        self.lines: dict[str, Any] = {"a": Line()}
        self.updater: Any = SimpleNamespace(state=SimpleNamespace(active=SimpleNamespace(version="v1")))
        self.samples: list[Any] = []
        self.swaps: list[SwapSeen] = []
        self.sampler = LineSampler(
            self.lines, {"yolo": self.updater}, self.bus, lambda: self.wall, lambda: self.now
        )
        self.sampler.on_sample = lambda t, lines: self.samples.append((t, lines))
        self.sampler.on_swap = self.swaps.append

    def step(self, results: int = 0, seconds: float = 1.0) -> Any:
        """Let time pass, in which line `a` has so many results; what was told then."""
        self.now += seconds
        self.wall += seconds
        if "a" in self.lines:
            self.lines["a"].results += results
        self.sampler.sample()
        return self.samples[-1][1]


@pytest.fixture
def site() -> Site:
    """A site with one line."""
    return Site()


def test_what_a_line_did_in_a_second(site: Site) -> None:
    """Counted between two looks; the latency is that of these frames alone."""
    first = site.step(results=7)["a"]
    assert (first.fps, first.p50_ms, first.dropped, first.version) == (None, None, None, "v1")
    site.lines["a"].dropped = {"busy": 2, "stale": 1}
    second = site.step(results=30, seconds=1.5)["a"]
    assert (second.fps, second.p50_ms, second.p95_ms, second.dropped) == (20.0, 50.0, 95.0, 3)
    assert second.results == 37
    assert site.lines["a"].asked_of == 30


def test_a_line_that_stands(site: Site) -> None:
    """Zero frames are known to be none; their latency isn't known."""
    site.step()
    stands = site.step()["a"]
    assert (stands.fps, stands.p50_ms, stands.dropped) == (0.0, None, 0)
    site.updater.state.active = None
    assert site.step()["a"].version is None


def test_a_line_under_a_name_that_was_taken(site: Site) -> None:
    """One that was moved begins to count anew: no frames that run backwards."""
    site.step(results=50)
    site.lines["a"] = Line()
    assert site.step(results=3)["a"].fps is None
    assert site.step(results=3)["a"].fps == 3.0
    del site.lines["a"]
    assert site.step() == {}


def test_a_swap_with_its_reason(site: Site) -> None:
    """The record that follows the swap says why; it is told once."""
    site.bus.publish(Swapped("yolo", "v2", "sha256:2", 4))
    assert site.swaps == []
    record = AuditRecord("update", "yolo", "anna", "v1", "v2", result="swapped", why="dents", epoch=4)
    site.bus.publish(AuditAppended(record))
    site.bus.publish(AuditAppended(record))
    site.step()
    assert site.swaps == [
        SwapSeen(1_700_000_000.0, "yolo", "v1", "v2", 4, "update", "swapped", "anna", "dents")
    ]


def test_a_swap_without_a_record(site: Site) -> None:
    """It is told with the next look, or the next swap."""
    site.bus.publish(Swapped("yolo", "v1", "", 1))
    site.bus.publish(Swapped("yolo", "v2", "", 2))
    site.bus.publish(AuditAppended(AuditRecord("update", "yolo", to_version="v3", result="rejected")))
    site.step()
    assert [(s.from_version, s.to_version, s.reason) for s in site.swaps] == [
        (None, "v1", ""),
        ("v1", "v2", ""),
    ]


def test_series_and_swaps_have_one_time_axis(site: Site) -> None:
    """When the wall clock is put right, the past moves as a whole; swaps of more than ten minutes ago are gone."""
    site.bus.publish(Swapped("yolo", "v1", "", 1))
    site.step()
    for _ in range(700):
        site.step(results=10)
    site.bus.publish(Swapped("yolo", "v2", "", 2))
    site.step(results=10)
    site.wall += 3600
    doc = site.sampler.series(600)
    assert (doc["interval_s"], doc["end"], doc["end"] - doc["start"]) == (1, site.wall, 599.0)
    assert doc["pipelines"]["a"]["fps"] == [10.0] * 600
    assert [(swap["to_version"], swap["t"]) for swap in doc["swaps"]] == [("v2", site.wall)]
    assert len(site.sampler.series(30)["pipelines"]["a"]["fps"]) == 30


def test_memory_is_bounded(site: Site) -> None:
    """However often versions are swapped."""
    for epoch in range(3 * MAX_SWAPS):
        site.bus.publish(Swapped("yolo", f"v{epoch}", "", epoch))
    site.step()
    assert len(site.sampler.series(600)["swaps"]) == MAX_SWAPS
