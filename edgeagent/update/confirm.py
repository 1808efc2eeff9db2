# SPDX-License-Identifier: AGPL-3.0-or-later
"""A tuning result that came of a short look, confirmed beside the line: timed in turns, and proved on many pictures.

Each turn of a variant is a worker of its own, as its first trial was: two runs in one process are alike in more than
the variant (where its memory lies, what the processor has learned), no variant's memory stands beside another's, and
one that crashes disturbs none.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from edgeagent.core.race import MAX_TURNS, Turn, is_settled, standing
from edgeagent.core.tuning import Parity, Trial, Tuning
from edgeagent.gates.parity import judge
from edgeagent.runtimes.variants import Variant
from edgeagent.serving.artifact import Artifact
from edgeagent.update.autotune import Trials, on_disk
from edgeagent.update.tuning_cache import TuningRequest, begin, similar_model, store_result, work_folder
from edgeagent.update.worker_task import TaskFailedError
from edgeagent.workers.tasks.prepare import Proven

PICTURES = 100
"""On which a variant must find what the source finds: if none of them differs, fewer than 3 % of all do, with 95 %
confidence."""
_RACE_S = 180.0
_log = structlog.get_logger(__name__)


@dataclass
class _Entry:
    """A variant in the race. ms: its least time in any turn; turns: that it was timed in; waited: in the first of them;
    why: what speaks against it; parity: what the last comparison with the source found."""

    variant: Variant
    ms: float | None = None
    turns: int = 0
    waited: float = 0.0
    why: str = ""
    parity: Parity | None = None

    @property
    def key(self) -> str:
        """Its name in the race: two may read different files in the same way."""
        return f"{self.variant.name} {self.variant.format}"

    @property
    def trial(self) -> Trial:
        """As it is told."""
        return Trial(self.variant.name, self.ms, self.why, self.parity, max(self.turns, 1), self.waited)


@dataclass
class _Race:
    """Who may still be chosen, the nearest to the source first, and what their turns were: the first is that of the
    short look."""

    request: TuningRequest
    entries: list[_Entry]
    turns: list[Turn]
    raced_before: bool

    @property
    def order(self) -> list[str]:
        """Who takes part."""
        return [e.key for e in self.entries if not e.why and e.variant in self.request.variants]

    @property
    def running(self) -> list[_Entry]:
        """The leader, and who may turn out to be the better choice; the leader alone when that is clear."""
        if not self.order:
            return []
        now = standing(self.order, self.turns)
        return [e for e in self.entries if e.key in (now.leader, *now.open)]

    @property
    def is_settled(self) -> bool:
        """Whether more turns would tell nothing more, as far as the machine was calm."""
        return is_settled(self.order, self.turns)

    @property
    def is_in_vain(self) -> bool:
        """Whether the machine is busy, and turns on a busy machine there were in an earlier race."""
        return self.raced_before and not self.turns[-1].is_calm

    def leader(self, before: Variant) -> _Entry | None:
        """Who is to be chosen: while that isn't settled, `before`, unless it is surely slower. None: nobody is left."""
        if not self.order:
            return None
        settled = self.is_settled
        now = standing(self.order, [turn for turn in self.turns if turn.is_calm or not settled])
        stays = next((e for e in self.running if e.variant == before), None)
        return stays if stays and not settled else self._entry(now.leader)

    def _entry(self, key: str) -> _Entry:
        return next(e for e in self.entries if e.key == key)


async def confirm(request: TuningRequest, known: Artifact, root: Path, trials: Trials) -> Artifact:
    """`known`, or the form that is surely faster, or the one that still finds what the source finds when that one
    doesn't; SETTLED, unless the machine was too busy to tell, or there was nothing to find.

    root: `<cache>/prepared`, where it is stored. Raises TaskFailedError when nothing is left to choose, or a worker
    fails; OSError.
    """
    race = await asyncio.to_thread(_race, request, known, root)
    work = work_folder(root)
    try:
        await on_disk(begin, root, work)
        await on_disk(_copy_made, known, work)
        chosen, proven = await _choose(race, known, trials, work)
        is_proven = proven is None or proven.parity.objects > 0
        tuning = Tuning.SETTLED if race.is_settled and is_proven else Tuning.PROVISIONAL
        weights = proven.weights if proven else request.setup.version.files[chosen.variant.format]
        plan = request.plan(chosen.variant, weights, proven.compiled if proven else None)
        artifact = replace(
            known, plan=plan, trials=tuple(e.trial for e in race.entries), gates=(), tuning=tuning
        )
        _log.info("tuning.confirmed", variant=chosen.variant.name, turns=len(race.turns), tuning=tuning.value)
        kept = [path.name for path in _made(known)]
        return await on_disk(store_result, request, artifact, root, work, kept)
    finally:
        await on_disk(shutil.rmtree, work, True)


def _race(request: TuningRequest, known: Artifact, root: Path) -> _Race:
    """Who takes part: whoever was tried; and the others, if the choice came from a similar model that was itself not
    settled."""
    reference = request.setup.reference
    waiting = list(known.trials)
    inherits = similar_model(request, root, settled=True) is not None
    entries = []
    for variant in dict.fromkeys((reference, *request.variants)):
        trial = next((t for t in waiting if t.variant == variant.name), None)
        if trial:
            waiting.remove(trial)
            entries.append(_Entry(variant, trial.ms, trial.turns, trial.waited, trial.why, trial.parity))
        elif variant == known.plan.variant or not inherits:
            entries.append(_Entry(variant))
    look = Turn({e.key: e.ms for e in entries if e.ms}, max((e.waited for e in entries if e.ms), default=1.0))
    return _Race(request, entries, [look], any(e.turns > 1 for e in entries))


async def _run(race: _Race, trials: Trials, work: Path) -> None:
    """Turns, until the order is clear, or there is no use in more just now."""
    until = time.monotonic() + _RACE_S
    while len(running := race.running) > 1 and len(race.turns) <= MAX_TURNS and time.monotonic() < until:
        if race.is_settled or race.is_in_vain:
            break
        ms, waited = {}, 0.0
        for entry in running:
            try:
                result = await trials.benchmark(race.request.setup, entry.variant, work, compares=False)
            except TaskFailedError as e:
                if e.transient:
                    raise
                entry.why = e.why
                continue
            ms[entry.key], waited = result.ms, max(waited, result.waited)
            entry.ms = min(entry.ms or result.ms, result.ms)
            entry.turns += 1
        race.turns.append(Turn(ms, waited))


async def _choose(race: _Race, known: Artifact, trials: Trials, work: Path) -> tuple[_Entry, Proven | None]:
    """The first choice that finds what the source finds, and its proof; None for the source itself.

    Raises TaskFailedError when there is none.
    """
    setup = race.request.setup
    before = known.plan.variant
    while True:
        await _run(race, trials, work)
        chosen = race.leader(before)
        if chosen is None:
            raise TaskFailedError("; ".join(f"{e.variant.name}: {e.why}" for e in race.entries if e.why))
        if chosen.variant == setup.reference and not chosen.variant.needs_conversion(setup.version.files):
            return chosen, None
        proven = _proof(chosen, known, work) or await trials.prove(setup, chosen.variant, work, PICTURES)
        chosen.parity, chosen.why = proven.parity, judge(proven.parity, setup.tolerance).failure
        if not chosen.why:
            return chosen, proven
        _log.warning("variant.refused", variant=chosen.variant.name, why=chosen.why)


def _proof(chosen: _Entry, known: Artifact, work: Path) -> Proven | None:
    """That of an earlier confirmation, which left open only what is fastest."""
    plan, parity = known.plan, chosen.parity
    if chosen.variant != plan.variant or not parity or parity.frames < PICTURES or not parity.objects:
        return None
    made = {path: work / path.name for path in _made(known)}
    compiled = plan.compiled and made.get(plan.compiled, plan.compiled)
    return Proven(made.get(plan.weights, plan.weights), compiled, parity)


def _made(artifact: Artifact) -> list[Path]:
    """The files that were made for it."""
    files: Iterable[Path | None] = (artifact.plan.weights, artifact.plan.compiled)
    return [path for path in files if path and artifact.folder and path.is_relative_to(artifact.folder)]


def _copy_made(known: Artifact, work: Path) -> None:
    """What was made is not made again. A copy: what serves may load its own anew at any time. Raises OSError."""
    for path in _made(known):
        shutil.copyfile(path, work / path.name)
