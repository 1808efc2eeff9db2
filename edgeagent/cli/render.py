# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `status` and `history` print for a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from edgeagent.cli.tables import colour_of, is_narrow, show_line, show_table

if TYPE_CHECKING:  # who only wants a line of help doesn't wait for the schema
    from edgeagent.core.pairs import PairSummary
    from edgeagent.observe.audit import AuditRecord
    from edgeagent.status.rollout_schema import RolloutStatus
    from edgeagent.status.schema import CandidateStatus, HistoryCheck, ModelStatus, ShadowStatus, Status


def show_status(status: Status) -> None:
    """Print a node's status as tables, with what they have no room for in lines below."""
    store = status.config_store
    if store.connected:
        show_line(f"node {status.node}, config store {store.url} connected")
        if store.why:
            show_line(f"config store: {store.why}", "yellow")
    else:
        show_line(f"node {status.node}, config store {store.url} NOT connected {store.why or ''}", "red")
    for source in status.intent_sources[1:]:
        decides = f", decides {', '.join(source.decides)}" if source.decides else ""
        state = "connected" if source.connected else "NOT connected"
        why = f": {source.why}" if source.why else ""
        colour = None if source.connected and not source.why else "yellow"
        show_line(f"further source {source.url} {state}{decides}{why}", colour)
    if status.disk_error:
        show_line(f"not written to disk: {status.disk_error}", "red")
    show_table(
        ("model", "aspired", "active", "engine", "epoch", "standby", "state"),
        [
            (
                name,
                f"{m.aspired} (@{m.tag})" if m.tag else m.aspired,
                m.active and m.active.version,
                m.active and m.active.engine,
                m.active and m.active.epoch,
                m.standby and m.standby.version,
                m.state,
            )
            for name, m in status.models.items()
        ],
    )
    for name, m in status.models.items():
        for note, colour in _notes(m):
            show_line(f"{name}: {note}", colour)
    show_table(
        ("pipeline", "state", "fps", "frames", "dropped", "p50 ms", "p99 ms"),
        [
            (name, p.state, p.fps, p.frames, p.dropped, p.latency_ms.p50, p.latency_ms.p99)
            for name, p in status.pipelines.items()
        ],
    )
    for name, p in status.pipelines.items():
        if why := p.why or p.last_error:
            show_line(f"{name}: {why}", "yellow")
        for sink, why in p.sinks.errors.items():
            show_line(f"{name}: sink {sink}: {why}", "red")
    for receiver in status.notify:
        if receiver.error or receiver.lost:
            waits = f"{receiver.waiting} messages wait, {receiver.lost} lost"
            show_line(f"notify {receiver.receiver}: {receiver.error or 'it is there again'}; {waits}", "red")
    show_table(
        ("pid", "worker", "of", "version", "MB", "cpu s"),
        [
            (w.pid, w.kind, w.pipeline or w.model, w.version, w.memory_bytes >> 20, w.cpu_seconds)
            for w in status.workers
        ],
    )


def show_history(records: Sequence[AuditRecord]) -> None:
    """Print audit records as a table, in this order; on a narrow terminal each with its reason below."""
    if is_narrow() and records:
        for record in records:
            _show_folded(record)
        return
    rows = [
        (
            r.when.replace("T", " "),  # where a narrow terminal folds it
            r.event,
            r.model,
            " → ".join(v for v in (r.from_version, r.to_version) if v),
            r.result,
            r.who,
            r.why,
        )
        for r in records
    ]
    show_table(("when", "event", "model", "versions", "result", "who", "why"), rows)


def _show_folded(r: AuditRecord) -> None:
    versions = " → ".join(v for v in (r.from_version, r.to_version) if v)
    words = (r.when.replace("T", " "), r.event, r.model, r.result, versions)
    show_line("  ".join(word for word in words if word), colour_of(r.result), folded=True)
    if said := ": ".join(word for word in (r.who, r.why) if word):
        show_line(f"    {said}", folded=True)


def show_check(check: HistoryCheck) -> None:
    """Print what became of the audit log: of each chain the first broken record, or how many it has, and its head."""
    for name, log in check.logs.items():
        if broken := log.broken:
            where = f"{broken.file} line {broken.line}" if broken.line else name
            show_line(f"{where}: record {broken.seq} was {broken.how}: {broken.why}", "red")
        elif log.records:
            last = log.first + log.records - 1
            show_line(f"{name}: records {log.first} to {last} are as they were written", "green")
            show_line(f"{name}: head {log.head}")
        else:
            show_line(f"{name}: no records in a chain yet")
        if log.unchained:
            show_line(f"{name}: {log.unchained} older records are in no chain: an earlier release wrote them")
        if log.torn:
            show_line(f"{name}: {log.torn} lines are no records, as a power cut leaves them")
        for note in log.notes:
            show_line(f"{name}: {note}", "yellow")
    show_line(
        "Whoever can write these files can write a new chain: keep the head elsewhere, and give it as --anchor."
    )


def _notes(model: ModelStatus) -> Iterable[tuple[str, str]]:
    """What is to be known of a model beyond its row in the table, and the colour of it."""
    if held := model.held:
        yield f"held on {held.version} by {held.by or '?'} until {held.until}", "yellow"
    if candidate := model.candidate:
        waits = f"({candidate.waits})" if candidate.waits else ""
        said = (
            f"{candidate.version} is at {candidate.stage} {_done(candidate)} {waits} {candidate.error or ''}"
        )
        yield " ".join(said.split()), "yellow"
        if shadow := candidate.shadow:
            yield (
                f"{candidate.version} beside {shadow.against}: {_seen(shadow.pairs)}; {_waits(shadow)}"
                f"{_against(shadow.breach)}",
                "yellow",
            )
    if ahead := model.preload:
        said = "is ready to be promoted" if ahead.ready else f"is made ready, at {ahead.stage}"
        why = f": {ahead.why}" if ahead.why else ""
        yield f"{ahead.version} {said}{why}", "red" if ahead.stage == "REJECTED" else "yellow"
    if rollout := model.rollout:
        yield _rollout(rollout), "red" if rollout.orphaned else "yellow"
    if watch := model.probation:
        against = f" beside {watch.against}" if watch.against else ""
        left = f"{watch.seconds_left:.0f} s left"
        why = f", longer than planned: {watch.shortfall}" if watch.longer and watch.shortfall else ""
        yield f"probation{against}: {_seen(watch.pairs)}; {left}{why}{_against(watch.breach)}", "yellow"
    if (active := model.active) and active.tuning == "unconverted":
        trial = f" ({trial} now)" if (trial := model.rebuild and model.rebuild.trial) else ""
        yield (
            f"{active.version} serves as it was published, while what is fastest is found out{trial}",
            "yellow",
        )
    if active and active.withdrawn:
        yield f"{active.version} serves, and was withdrawn: {active.withdrawn}", "red"
    if model.failing:
        yield model.failing, "red"
    for rejected in model.rejected:
        yield f"{rejected.version} rejected: {rejected.why}", "red"
    if model.last_error:
        yield f"last error: {model.last_error}", "red"


def _done(candidate: CandidateStatus) -> str:
    """How much of its stage is done, or what of it is."""
    if (fetch := candidate.fetch) and fetch.of:
        return f"({fetch.file}: {fetch.bytes / 1e6:.1f} of {fetch.of / 1e6:.1f} MB)"
    if candidate.gate and (progress := candidate.gate_progress):
        return f"({candidate.gate}: {progress.done} of {progress.of})"
    return f"({candidate.gate or candidate.trial})" if candidate.gate or candidate.trial else ""


def _rollout(r: RolloutStatus) -> str:
    """How far the roll-out is, and what this node has done in it."""
    wave = f", wave {r.wave + 1}" if r.wave >= 0 else ""
    here = (r.phase or "nothing to do").replace("_", " ") if r.is_in or r.phase else "not in yet"
    why = f": {r.why}" if r.why else ""
    orphaned = "; NO COORDINATOR LEADS IT" if r.orphaned else ""
    return f"roll-out {r.id} of {r.version} is {r.status}{wave}; this node: {here}{why}{orphaned}"


def _seen(pairs: PairSummary | None) -> str:
    """What two versions saw on the same frames."""
    if pairs is None:
        return "no frame seen by both yet"
    kinds = ("lost", "gained", "moved", "renamed")
    found = []
    for c in pairs.classes:
        differs = ", ".join(f"{count} {kind}" for kind in kinds if (count := getattr(c, kind)))
        found.append(f"{c.name} {c.agreed} agreed" + (f", {differs}" if differs else ""))
    evidence = f"evidence 10^{pairs.evidence:g} of 10^{pairs.needed:g}"
    return f"{pairs.frames} frames, {pairs.objects} objects ({'; '.join(found) or 'none'}), {evidence}"


def _against(breach: str | None) -> str:
    return f"; seen against it: {breach}" if breach else ""


def _waits(shadow: ShadowStatus) -> str:
    """What it waits for, and for how long."""
    left = f", {shadow.seconds_left:.0f} s left" if shadow.seconds_left is not None else ""
    match shadow.waits_for:
        case "approval":
            return "waits for an approval (edgeagent approve)"
        case "moment":
            return f"waits for its moment, {shadow.at}{left}"
    return f"has to see more{left}" + (f": {shadow.shortfall}" if shadow.shortfall and not left else "")
