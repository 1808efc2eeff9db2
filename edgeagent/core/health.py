# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hard limits for a version that serves, which need no second version: against what the one before did here.

Everything is in windows of some seconds, each summed up by whoever serves. What the version before did in its last
stable windows is the measure, so a line that always drops frames, or a machine that is always busy, is no reason. No
windows, no verdict: what wasn't measured is never taken for health, and never for a breach either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median


@dataclass(frozen=True, slots=True)
class HealthWindow:
    """What a model's pipelines did in some seconds, under one version.

    seconds: how long it was; frames: with a result; dropped: left out because no engine was free; failed: that the
    engine could not infer, NaN included; restarts: of its worker. p95_ms, p99_ms: from capture to result, milliseconds,
    0: not told. processor_ms: that its worker ran a frame, all threads together, 0: not told; unlike the others it is
    the same on a busy machine. memory_mb: of the worker at the end, 0: not known. silence_s: for how long nothing had
    been found at the end, or until something was, whichever is longer; windows before this one count.
    """

    seconds: float
    frames: int = 0
    dropped: int = 0
    failed: int = 0
    restarts: int = 0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    processor_ms: float = 0.0
    memory_mb: float = 0.0
    silence_s: float = 0.0


@dataclass(frozen=True)
class HealthLimits:
    """How much worse than the version before a version may do.

    windows: so many in a row must be over a limit of latency, drops; least_before: of the version before that are
    needed for a comparison; least_frames: that a window needs to tell a latency. slower_p95, slower_p99,
    slower_processor: times the latency, the time of processors a frame, of the version before (of its tenth-slowest
    window), and slower_ms, milliseconds, more. dropped, failed: of
    all frames, as a share, more; least_failed: fewer are no reason. restarts: that are one too many. growth_mb: memory
    that may be taken after warm_windows, megabytes; growth_windows: that are needed to tell; rising: share of pairs of
    windows of which the later takes more. silence_times: the longest silence ever seen; silence_s: shorter ones are no
    reason, seconds, nor are those that the version before was not watched for as long.
    """

    windows: int = 3
    least_before: int = 3
    least_frames: int = 20
    slower_p95: float = 2.0
    slower_p99: float = 2.0
    slower_processor: float = 2.0
    slower_ms: float = 5.0
    dropped: float = 0.05
    failed: float = 0.01
    least_failed: int = 2
    restarts: int = 2
    growth_mb: float = 64.0
    growth_windows: int = 6
    warm_windows: int = 2
    rising: float = 0.9
    silence_times: float = 3.0
    silence_s: float = 60.0


def health_breach(
    now: Sequence[HealthWindow],
    before: Sequence[HealthWindow],
    limits: HealthLimits,
    longest_silence_s: float = 0.0,
) -> str:
    """Why a version must not go on serving, "" so far: one sentence with figure, over how much, against what.

    now: its windows, the oldest first. before: those of the version before, when it was stable. longest_silence_s: ever
    seen on this node, seconds, 0: not known.
    """
    checks: tuple[Callable[[], str], ...] = (
        lambda: _errors(now, before, limits),
        lambda: _restarts(now, limits),
        lambda: _latency(now, before, limits, "p95_ms", limits.slower_p95),
        lambda: _latency(now, before, limits, "p99_ms", limits.slower_p99),
        lambda: _latency(now, before, limits, "processor_ms", limits.slower_processor),
        lambda: _drops(now, before, limits),
        lambda: _growth(now, limits),
        lambda: _silence(now, before, limits, longest_silence_s),
    )
    return next((why for check in checks if (why := check())), "")


def _errors(now: Sequence[HealthWindow], before: Sequence[HealthWindow], limits: HealthLimits) -> str:
    failed, usual = sum(w.failed for w in now), _share(before, "failed")
    if failed < limits.least_failed or _share(now, "failed") <= usual + limits.failed:
        return ""
    frames = failed + sum(w.frames for w in now)
    return f"{failed} of {frames} frames failed, and {usual:.1%} under the version before"


def _restarts(now: Sequence[HealthWindow], limits: HealthLimits) -> str:
    restarts = sum(w.restarts for w in now)
    return f"its worker was started again {restarts} times" if restarts >= limits.restarts else ""


def _latency(
    now: Sequence[HealthWindow],
    before: Sequence[HealthWindow],
    limits: HealthLimits,
    name: str,
    times: float,
) -> str:
    told = [getattr(w, name) for w in now if w.frames >= limits.least_frames]
    # 0 is no measure: the machine was too busy to tell.
    usual = [ms for w in before if w.frames >= limits.least_frames and (ms := getattr(w, name)) > 0]
    if len(told) < limits.windows or len(usual) < limits.least_before:
        return ""
    slow = sorted(usual)[-1 - len(usual) // 10]
    least = min(told[-limits.windows :])
    if least <= max(times * slow, slow + limits.slower_ms):
        return ""
    return (
        f"{_TIMES[name]} {least:.0f} ms or more in {limits.windows} windows in a row,"
        f" and {slow:.0f} ms under the version before (limit {times:g} times)"
    )


_TIMES = {
    "p95_ms": "p95 of the latency is",
    "p99_ms": "p99 of the latency is",
    "processor_ms": "a frame takes the processors",
}


def _drops(now: Sequence[HealthWindow], before: Sequence[HealthWindow], limits: HealthLimits) -> str:
    if len(now) < limits.windows or len(before) < limits.least_before:
        return ""
    last = now[-limits.windows :]
    usual = max(_share([w], "dropped") for w in before)
    least = min(_share([w], "dropped") for w in last)
    if least <= usual + limits.dropped:
        return ""
    return f"{_share(last, 'dropped'):.0%} of the frames are dropped, and {usual:.0%} at most under the version before"


def _growth(now: Sequence[HealthWindow], limits: HealthLimits) -> str:
    """By the median of the slopes between all pairs of windows (Theil and Sen), so that a single jump is no growth."""
    after_restart = max((i + 1 for i, w in enumerate(now) if w.restarts), default=0)
    since = now[after_restart + limits.warm_windows :]
    times, at = [], 0.0
    for w in since:
        at += w.seconds
        times.append(at)
    points = [(t, w.memory_mb) for t, w in zip(times, since, strict=True) if w.memory_mb > 0]
    if len(points) < limits.growth_windows:
        return ""
    points = _thinned(points)
    slopes = [(m2 - m1) / (t2 - t1) for (t1, m1), (t2, m2) in combinations(points, 2)]
    slope, seconds = median(slopes), points[-1][0] - points[0][0]
    rising = sum(s > 0 for s in slopes) / len(slopes)
    if slope * seconds <= limits.growth_mb or rising < limits.rising:
        return ""
    return (
        f"its memory grows by {slope * 60:.0f} MB a minute, {slope * seconds:.0f} MB in {seconds:.0f} s"
        f" (limit {limits.growth_mb:g} MB)"
    )


def _silence(
    now: Sequence[HealthWindow],
    before: Sequence[HealthWindow],
    limits: HealthLimits,
    longest_s: float,
) -> str:
    usual = max([longest_s, *(w.silence_s for w in before)])
    silence = max((w.silence_s for w in now), default=0.0)
    if not usual or not sum(w.frames for w in now):
        return ""
    # Who has watched a busy line for five minutes knows nothing of its breaks.
    watched = sum(w.seconds for w in before)
    if silence <= max(limits.silence_times * usual, limits.silence_s, watched):
        return ""
    return f"nothing was found for {silence:.0f} s, and for {usual:.0f} s at most before"


def _share(windows: Sequence[HealthWindow], name: str) -> float:
    what = sum(getattr(w, name) for w in windows)
    frames = sum(w.frames for w in windows)
    return what / (frames + what) if what else 0.0


_MOST_POINTS = 60


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """So few that all pairs of them can be looked at; the last one is among them."""
    step = -(-len(points) // _MOST_POINTS)
    return points[::-1][::step][::-1]
