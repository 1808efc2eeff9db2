# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `edgeagent rollout` prints: tables for people, JSON for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeagent.cli.tables import show_json, show_line, show_table
from edgeagent.core.rollout import ENDED, Rollout, Status
from edgeagent.core.rollout_compare import Comparison
from edgeagent.core.rollout_progress import Progress
from edgeagent.core.rollout_view import eligible, openings
from edgeagent.core.student import CONFIDENCE, Estimate
from edgeagent.fleet.documents import progress_document, rollout_document
from edgeagent.fleet.rollout_start import Start
from edgeagent.util.codec import to_json

_SHOWN = 20
"""Nodes in one line; --json has all."""
_FIGURES = {
    "frames": "frames (at least)",
    "boxes": "boxes a frame",
    "latency_ms": "latency p95, ms",
    "golden": "golden recall",
    "evidence": "evidence, power of ten",
}
_COLOURS = {Status.DONE: "green", Status.ABORTING: "red", Status.ABORTED: "red"}


def show_dry_run(start: Start, as_json: bool) -> None:
    """Which nodes would be in which wave, which are away, which may not take it, and which will not follow."""
    coming, waves = openings(start.rollout, start.fleet), start.rollout.plan.waves
    away = sorted(n for n, m in start.fleet.members.items() if not m.present)
    if as_json:
        planned = [{"wave": waves[o.index], "nodes": len(o.nodes), "brings": list(o.brings)} for o in coming]
        doc = {
            "waves": planned,
            "away": away,
            "refused_before": start.refused_before,
            "excused": start.excused,
        }
        show_json({**start_json(start), **to_json(doc)})
        return
    show_plan(start)
    rows = [(o.index + 1, waves[o.index], len(o.nodes), len(o.brings), some(o.brings)) for o in coming]
    show_table(("wave", "of the nodes", "in", "new", "which"), rows)
    _show_nodes("away, and in when they come", away)
    _show_reasons("refused it before", start.refused_before)
    _show_reasons("will not follow it", start.excused)
    show_line("nothing was written")


def show_start(start: Start, as_json: bool) -> None:
    """That a roll-out has begun."""
    if as_json:
        show_json(start_json(start))
    else:
        show_plan(start)


def show_rollout(model: str, rollout: Rollout) -> None:
    """Where a roll-out stands, in a line."""
    wave = f", wave {rollout.wave + 1} of {len(rollout.plan.waves)}" if rollout.wave >= 0 else ""
    why = f": {rollout.why}" if rollout.why else ""
    show_line(f"roll-out {rollout.id} of {model} to {rollout.plan.version} is {rollout.status}{wave}{why}")


def show_rollouts(model: str, rollouts: Sequence[Rollout], as_json: bool) -> None:
    """Those of a model, the oldest first."""
    if as_json:
        show_json({"model": model, "rollouts": [rollout_document(r) for r in rollouts]})
        return
    rows = [
        (r.id, r.plan.came_from, r.plan.version, str(r.status), r.plan.by, r.plan.reason, r.why)
        for r in rollouts
    ]
    show_table(("roll-out", "from", "to", "state", "by", "reason", "why"), rows)


def show_progress(model: str, progress: Progress, as_json: bool, is_line: bool = False) -> None:
    """How far a roll-out is. is_line: the JSON in one line."""
    if as_json:
        show_json(progress_document(model, progress), is_line)
        return
    rollout, plan = progress.rollout, progress.rollout.plan
    show_line(f"roll-out {rollout.id} of {model}: {plan.came_from} → {plan.version}, by {plan.by or '?'}")
    if plan.reason:
        show_line(f"reason: {plan.reason}")
    show_line(progress.summary, _COLOURS.get(rollout.status, "yellow"))
    for note in progress.notes:
        show_line(note, "yellow")
    is_open = "was open" if rollout.status in ENDED else "open"
    rows = [
        (n + 1, wave.wave, wave.nodes, is_open if wave.is_open else "")
        for n, wave in enumerate(progress.waves)
    ]
    show_table(("wave", "of the nodes", "nodes in it", "state"), rows)
    if progress.evidence > 0:
        show_line(f"evidence that it is worse, from all nodes together: 10^{progress.evidence:.1f}")
    _show_nodes("not through yet", progress.pending)
    _show_nodes("away", progress.away)
    _show_reasons("refused it", progress.refused)
    _show_reasons("went back from it", progress.failed)
    _show_reasons("follow something else", progress.excused)


def show_comparison(model: str, rollout: Rollout, found: Comparison, as_json: bool) -> None:
    """Two versions side by side."""
    if as_json:
        show_json({"model": model, "id": rollout.id, "confidence": CONFIDENCE, **to_json(found)})
        return
    new, old = found.inside, found.outside
    show_line(f"roll-out {rollout.id} of {model}, {rollout.status}; means over nodes, with 95 % intervals")
    rows: list[tuple[str, str, str, str]] = [
        ("nodes", str(new.nodes), str(old.nodes), ""),
        ("serve it", str(new.serving), str(old.serving), ""),
    ]
    rows += [
        (words, _mean(new.figures[name]), _mean(old.figures[name]), _mean(found.differences[name]))
        for name, words in _FIGURES.items()
    ]
    rows += [
        ("refused it", _share(new.refused), "", ""),
        ("went back from it", _share(new.rolled_back), "", ""),
    ]
    show_table(("figure", f"in: {new.version}", f"not in: {old.version}", "difference"), rows)
    if found.chosen:
        show_line(
            f"{found.chosen} of the nodes that are in were chosen, not drawn: they may differ from the others",
            "yellow",
        )


def start_json(start: Start) -> dict[str, Any]:
    """A roll-out that may begin, or has begun."""
    return {
        "model": start.model,
        "warnings": list(start.warnings),
        "rollout": rollout_document(start.rollout),
    }


def show_plan(start: Start) -> None:
    """What comes, in a line."""
    rollout, plan = start.rollout, start.rollout.plan
    show_line(
        f"roll-out {rollout.id} of {start.model}: {plan.came_from} → {plan.version}, waves {', '.join(plan.waves)};"
        f" nodes that are there: {len(eligible(start.fleet))}"
    )


def _show_nodes(what: str, nodes: Sequence[str]) -> None:
    if nodes:
        show_line(f"{len(nodes)} {what}: {some(nodes)}", "yellow")


def _show_reasons(what: str, nodes: Mapping[str, str]) -> None:
    """A line for each reason, for many nodes have the same."""
    whys = sorted(set(nodes.values()))
    for why in whys[:_SHOWN]:
        of = [node for node, other in nodes.items() if other == why]
        show_line(f"{len(of)} {what}: {some(of)}" + (f": {why}" if why else ""), "yellow")
    if len(whys) > _SHOWN:
        show_line(f"and {len(whys) - _SHOWN} more reasons; --json has them", "yellow")


def some(nodes: Sequence[str]) -> str:
    """As many names as have room in a line."""
    more = len(nodes) - _SHOWN
    return ", ".join(nodes[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _mean(estimate: Estimate) -> str:
    if estimate.mean is None:
        return "n/a"
    if estimate.low is None or estimate.high is None:
        return f"{_number(estimate.mean)} (interval n/a)"
    return f"{_number(estimate.mean)} ({_number(estimate.low)} to {_number(estimate.high)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _share(estimate: Estimate) -> str:
    if estimate.mean is None or estimate.low is None or estimate.high is None:
        return "n/a"
    return f"{estimate.mean:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"
