# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `nodes`, `snapshot` and `restore` print: tables for people, JSON for scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from edgeagent.cli.render_rollout import show_plan, some, start_json
from edgeagent.cli.tables import is_narrow, show_json, show_line, show_table
from edgeagent.core.fleet_nodes import Node, Nodes
from edgeagent.core.snapshot import Snapshot
from edgeagent.fleet.documents import nodes_document
from edgeagent.fleet.restore import ModelRestore

_SILENT = "silent"


def show_nodes(nodes: Nodes, as_json: bool, is_line: bool = False) -> None:
    """Print the fleet, a row for each model on each node. is_line: the JSON in one line."""
    if as_json:
        show_json(nodes_document(nodes), is_line)
        return
    columns = (
        "node",
        "model",
        "version",
        "state",
        "since",
        "roll-out",
        "frames",
        "p95 ms",
        "boxes",
        "golden",
        "labels",
    )
    narrow = is_narrow()
    rows = [_row(row) for row in nodes.rows]
    spare = ("labels", "golden", "boxes", "frames", "roll-out", "since", "p95 ms")
    if narrow:  # what is long has no room in a table
        show_table(columns, [row[:-1] for row in rows], spare)
        for node in nodes.rows:
            if said := _remarks(node):
                show_line(f"{node.node}, {node.model}: {said}", "yellow")
    else:
        show_table((*columns, "remarks"), rows, spare)
    for model in sorted({row.model for row in nodes.rows}):
        of = [row for row in nodes.rows if row.model == model]
        counts = Counter(row.version or "nothing" for row in of if row.present)
        served = ", ".join(f"{version} on {count}" for version, count in counts.most_common())
        silent = sum(not row.present for row in of)
        show_line(f"{model}: {served or 'no node is there'}" + (f"; {silent} silent" if silent else ""))
    if nodes.idle:
        show_line(f"nodes without a model: {some(nodes.idle)}")


def show_snapshot(snapshot: Snapshot, silent: Sequence[str], as_json: bool) -> None:
    """That a snapshot was taken. silent: nodes that are not there, of which it has what they served last."""
    models = sorted({model for served in snapshot.nodes.values() for model in served})
    if as_json:
        doc = {"name": snapshot.name, "at": snapshot.at, "nodes": len(snapshot.nodes), "models": models}
        show_json(doc | {"silent": list(silent)})
        return
    show_line(f"snapshot {snapshot.name}: nodes {len(snapshot.nodes)}, models {', '.join(models)}")
    if silent:
        show_line(f"{len(silent)} silent, with what they served last: {some(silent)}", "yellow")


def show_restore(
    snapshot: Snapshot, found: Sequence[ModelRestore], with_pins: bool, dry_run: bool, as_json: bool
) -> None:
    """What a restore does, or would do."""
    if as_json:
        models = [_restore_json(restore, with_pins) for restore in found]
        doc = {"snapshot": snapshot.name, "at": snapshot.at, "written": not dry_run, "models": models}
        show_json(doc)
        return
    show_line(f"snapshot {snapshot.name}, taken {snapshot.at} by {snapshot.by or '?'}")
    for restore in found:
        back = restore.back
        if restore.start:
            show_plan(restore.start)
        else:
            show_line(f"{back.model}: `current` says {back.target.version} already, as most nodes did then")
        for version in sorted({ref.version for ref in back.pins.values()}):
            nodes = [node for node, ref in back.pins.items() if ref.version == version]
            what = "pinned to" if with_pins else "not touched (--pins pins them), though they served"
            show_line(f"{what} {version}: {some(nodes)}", "yellow")
    if dry_run:
        show_line("nothing was written")


def _row(row: Node) -> tuple[object, ...]:
    report = row.report
    state = row.state if row.present else _SILENT
    if report is None:
        return (row.node, row.model, row.version, state, *[None] * 7, _remarks(row))
    return (
        row.node,
        row.model,
        row.version,
        state,
        _when(report.since),
        str(report.phase),
        report.frames or None,
        report.latency_ms or None,
        f"{report.boxes:.2f}" if report.frames else None,
        f"{report.golden:.3f}" if report.golden >= 0 else None,
        ", ".join(f"{name}={value}" for name, value in sorted(report.labels.items())),
        _remarks(row),
    )


def _when(since: int) -> str | None:
    try:
        return f"{datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M}Z" if since else None
    except (ValueError, OverflowError, OSError):  # of a clock that is nowhere
        return None


def _remarks(row: Node) -> str:
    report = row.report
    found = ["another process has this node id, too"] if row.conflict else []
    found += [f"held: {row.held}"] if row.held else []
    found += [report.why] if report and report.why else []
    found += [f"can't prepare: {report.preload_refused}"] if report and report.preload_refused else []
    found += ["no report that can be read: an earlier release?"] if report is None else []
    return "; ".join(found)


def _restore_json(restore: ModelRestore, with_pins: bool) -> dict[str, Any]:
    back = restore.back
    return {
        "model": back.model,
        "version": back.target.version,
        "digest": back.target.digest,
        "nodes": back.nodes,
        "pins": {node: ref.version for node, ref in back.pins.items()},
        "pins_written": with_pins,
        "start": start_json(restore.start) if restore.start else None,
    }
