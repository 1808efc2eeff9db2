# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node knows about one model: the reconciler's state, and the part of it that survives a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from edgeagent.core.contract import Names
from edgeagent.core.directive import Directive, directive_from_json, directive_to_json
from edgeagent.core.form import Form, FrameSizes
from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import MAX_NUMBER
from edgeagent.core.pairs import PairSummary
from edgeagent.core.preloaded import Preload
from edgeagent.core.probation import Failures
from edgeagent.core.text import clean

MAX_REJECTIONS = 32
STATE_SCHEMA = 1

NOT_SEEN = "too little was seen to tell: no frame by both versions"
"""Of what was compared with nothing yet."""
NOT_HELD = "nothing was held against it"


@dataclass(frozen=True)
class VersionRef:
    """One version, with the digest of its content."""

    version: str
    digest: str


class PrepareMode(StrEnum):
    """What a version is prepared for."""

    UPDATE = "UPDATE"  # to be tried by the gates, and made as well as this node can
    BOOT = "BOOT"  # known to be good here: no gates, and whatever form of it can serve soonest
    REBUILD = "REBUILD"  # serves already; made as well as this node can, beside the engine that serves
    PRELOAD = "PRELOAD"  # as UPDATE, ahead of one that may come: it isn't loaded

    @property
    def comes_in(self) -> bool:
        """Whether the version is to take the slot as soon as it is ready."""
        return self in (PrepareMode.UPDATE, PrepareMode.BOOT)

    @property
    def is_unproven(self) -> bool:
        """Whether the version has to pass the gates."""
        return self in (PrepareMode.UPDATE, PrepareMode.PRELOAD)


@dataclass(frozen=True)
class Goal:
    """What should serve, and on whose word.

    digest: of the content that has served well here, "" for a version that has yet to earn its place. As long as its
    content is still that, it needs no gates and no probation.
    """

    directive: Directive
    digest: str = ""

    @property
    def version(self) -> str:
        """The version that should serve."""
        return self.directive.version

    @property
    def intent_id(self) -> str:
        """Identity of the intent that it stands for."""
        return self.directive.intent_id

    @property
    def known_good(self) -> bool:
        """Whether it has served well here."""
        return self.digest != ""

    @property
    def mode(self) -> PrepareMode:
        """What it is to be prepared for."""
        return PrepareMode.BOOT if self.known_good else PrepareMode.UPDATE


@dataclass(frozen=True)
class Shadow:
    """How far a candidate is in SHADOW. All times are monotonic seconds.

    against: the version that serves, with which it is compared; since: when that began; pairs: what they say until now;
    shortfall: what they don't suffice for; breach: what they say against it, where that is only told. approved_by:
    whoever let it come in. awaits: the moment that is watched for, since when, and why it has come. due: when the next
    Tick changes something. seen_at: when a frame was last seen by both, or it began; skipped: why it need see no more,
    "" when it must. counted: it waits for nothing but the disk, which is to hold that it was tried; saved: that too.
    """

    against: VersionRef
    since: float
    pairs: PairSummary | None = None
    shortfall: str = NOT_SEEN
    breach: str = ""
    approved_by: str = ""
    awaits: str = ""
    awaits_since: float = 0.0
    moment: str = ""
    due: float | None = None
    seen_at: float = 0.0
    skipped: str = ""
    counted: bool = False
    saved: bool = False


@dataclass(frozen=True)
class Candidate:
    """A version on its way in, or the version that serves on its way to a better form.

    times: (stage, when it was entered), monotonic seconds. retry_at: when it is tried again, None while it is worked
    on. error: what the last try failed of. gates: what they have found so far. form: once it is READY. shadow: while it
    is in SHADOW.
    """

    id: int
    goal: Goal
    stage: Stage
    times: tuple[tuple[Stage, float], ...]
    digest: str = ""
    attempt: int = 1
    retry_at: float | None = None
    error: str = ""
    gates: tuple[GateResult, ...] = ()
    form: Form | None = None
    shadow: Shadow | None = None

    @property
    def ref(self) -> VersionRef:
        """Its name, and the digest of its content as far as that is known."""
        return VersionRef(self.goal.version, self.digest)

    @property
    def pairs(self) -> PairSummary | None:
        """What its shadow has seen."""
        return self.shadow.pairs if self.shadow else None

    def durations(self, now: float) -> dict[str, float]:
        """Seconds spent in each stage up to `now`."""
        ends = [t for _, t in self.times[1:]] + [now]
        spent: dict[str, float] = {}
        for (stage, begin), end in zip(self.times, ends, strict=True):
            spent[stage.lower()] = spent.get(stage.lower(), 0.0) + end - begin
        return spent


@dataclass(frozen=True)
class Override:
    """An intent made on this node (`kind`: rollback or promote), in force until the intent itself changes.

    done_at: when the version that a roll-back asks for was swapped in, monotonic seconds.
    """

    goal: Goal
    kind: str
    done_at: float | None = None


@dataclass(frozen=True)
class Rejection:
    """A version that was refused, and under which intent; it isn't tried again until that changes."""

    version: str
    digest: str
    intent_id: str
    stage: Stage
    why: str


@dataclass(frozen=True)
class StoreWatch:
    """A refused version, of which the store may come to hold something else.

    refused: fingerprint of what the store held when it was refused, "" when that isn't known. checks: how often the
    store was asked since. due: when it is asked next, None while its answer or another try of the version is awaited.
    """

    version: str
    refused: str = ""
    checks: int = 0
    due: float | None = None


@dataclass(frozen=True)
class BegunProbations:
    """So many times the version of this content, under this intent, began a probation that it didn't come to the end
    of."""

    digest: str
    intent_id: str
    times: int


@dataclass(frozen=True)
class Probation:
    """The watch over the version that serves. since: when it began, monotonic seconds; seconds: how long it takes;
    may_be_slow: the operator lets it be so; longer: it goes on, for too little was seen; pairs: what they say until
    now; shortfall: what they don't suffice for; breach: what speaks against it, where that is only told. Where
    nothing is compared with it, past: what this line's past doesn't suffice for, "" when it does; past_waits: time
    would change that."""

    since: float
    seconds: float
    may_be_slow: bool = False
    longer: bool = False
    pairs: PairSummary | None = None
    shortfall: str = NOT_SEEN
    past: str = NOT_HELD
    past_waits: bool = False
    breach: str = ""


@dataclass(frozen=True)
class Gap:
    """Nothing serves: `stopped` made room for the candidate of this id, at `since` (monotonic seconds)."""

    candidate_id: int
    stopped: VersionRef
    since: float


@dataclass(frozen=True)
class ThisRun:
    """What counts for this run of the node only.

    intent_synced: the config store has told the intent; until then `State.directive` is of the run before.
    boot_failed: versions that were known to be good, and yet couldn't serve at this start. epoch_floor: no swap takes
    this number or one below: another run may have given it to another version. failures: of the active version, since
    the swap. stop_gap: what is to serve in the place of a failing version until what is asked for can. store_watch:
    over a version that was refused. probation: of the active version, None when it is stable. blamed: the version that
    was taken back last, for a failure of its worker, and has not been followed by another swap. gap: while nothing
    serves, because there is no room for two. preload: the version that is made ready ahead; whoever wants that says it
    again after a start.
    """

    intent_synced: bool = False
    boot_failed: frozenset[str] = frozenset()
    epoch_floor: int = 0
    failures: Failures | None = None
    stop_gap: Goal | None = None
    store_watch: StoreWatch | None = None
    probation: Probation | None = None
    blamed: VersionRef | None = None
    gap: Gap | None = None
    preload: Preload | None = None


@dataclass(frozen=True)
class Comeback:
    """What the node went back from by itself, as it was asked for; how often in a row; and until when the same is not
    tried again (monotonic seconds, None after a restart)."""

    directive: Directive
    times: int
    until: float | None = None


@dataclass(frozen=True)
class State:
    """Everything that is decided on, for one model. All times are monotonic seconds.

    epoch: number of the last swap.
    probation_until: None when the active version is stable.
    stable_versions: those that became stable, oldest first; the last is the last known good.
    forms: of the active version and the standby. frames: what the pipelines have sent. rebuild: the active version on
    its way to a better form. draining: engines that were swapped out and finish the frames that they have, the longest
    out first. comeback: of the version that the node went back from last. contracts: the class names, by the ids that
    they have in the records, of each version that has served and may serve again; one that isn't there has its own.
    """

    model: str
    directive: Directive | None = None
    override: Override | None = None
    active: VersionRef | None = None
    epoch: int = 0
    probation_until: float | None = None
    standby: VersionRef | None = None
    candidate: Candidate | None = None
    stable_versions: tuple[VersionRef, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    last_error: str = ""
    next_id: int = 1
    run: ThisRun = ThisRun()
    forms: Mapping[VersionRef, Form] = field(default_factory=dict)
    frames: FrameSizes = field(default_factory=FrameSizes)
    rebuild: Candidate | None = None
    draining: tuple[VersionRef, ...] = ()
    begun_probations: BegunProbations | None = None
    comeback: Comeback | None = None
    contracts: Mapping[VersionRef, Names] = field(default_factory=dict)

    @property
    def next_epoch(self) -> int:
        """The number of the next swap."""
        return max(self.epoch, self.run.epoch_floor) + 1

    @property
    def stage(self) -> Stage:
        """Of the active version."""
        return Stage.STABLE if self.probation_until is None else Stage.PROBATION

    @property
    def last_known_good(self) -> VersionRef | None:
        """The version that is safe at boot."""
        return self.stable_versions[-1] if self.stable_versions else None

    @property
    def intent(self) -> str:
        """Identity of the operator's intent in force, "" when there is none."""
        return self.directive.intent_id if self.directive else ""


def to_json(state: State, reserved_epochs: int = 0) -> dict[str, Any]:
    """The part of the state that a restart needs, as JSON values.

    reserved_epochs: so many more swaps may follow before the state is saved again; the next run counts on after them.
    """
    override, b, c = state.override, state.begun_probations, state.comeback
    return {
        "schema": STATE_SCHEMA,
        "model": state.model,
        "epoch": state.next_epoch - 1 + reserved_epochs,
        "directive": state.directive and directive_to_json(state.directive),
        "good": [[r.version, r.digest] for r in state.stable_versions],
        "override": override
        and {
            "kind": override.kind,
            **directive_to_json(override.goal.directive),
            "known_good": override.goal.known_good,
            "digest": override.goal.digest,
        },
        "rejections": [
            # What failed at boot is tried again at the next one.
            [r.version, r.digest, r.intent_id, r.stage.value, r.why]
            for r in state.rejections
            if r.intent_id != "boot"
        ],
        **({"begun_probations": {"digest": b.digest, "wish": b.intent_id, "times": b.times}} if b else {}),
        **({"comeback": {**directive_to_json(c.directive), "times": c.times}} if c else {}),
        **({"classes": classes} if (classes := _contracts_to_json(state)) else {}),
    }


def _contracts_to_json(state: State) -> list[list[Any]]:
    """Of the versions that may serve after a restart without passing the gates."""
    contracts = state.contracts
    return [[r.version, r.digest, [*contracts[r]]] for r in state.stable_versions if r in contracts]


def _contracts_from_json(items: Any) -> dict[VersionRef, Names]:
    return {VersionRef(str(v), str(d)): tuple(str(name) for name in names) for v, d, names in items}


def from_json(model: str, doc: Mapping[str, Any]) -> State:
    """The state to boot with. Raises ValueError when the document isn't one that `to_json` made for this model."""
    try:
        if doc["schema"] != STATE_SCHEMA or doc["model"] != model:
            raise ValueError(f"state of model {doc['model']!r}, schema {doc['schema']!r}")
        override = None
        if o := doc["override"]:
            known_good, digest = bool(o["known_good"]), str(o["digest"])
            override = Override(Goal(directive_from_json(o), digest if known_good else ""), str(o["kind"]))
        # The intent as it was before the restart: holds and quarantines refer to it, and the node has something
        # to aspire to while the config store is away.
        directive = directive_from_json(d) if (d := doc["directive"]) else None
        begun = None
        if b := doc.get("begun_probations"):
            begun = BegunProbations(str(b["digest"]), str(b["wish"]), int(b["times"]))
        comeback = Comeback(directive_from_json(c), int(c["times"])) if (c := doc.get("comeback")) else None
        epoch = int(doc["epoch"])
        if not 0 <= epoch <= MAX_NUMBER:
            raise ValueError(f"epoch {epoch:.3g} is none")
        return State(
            model=model,
            directive=directive,
            override=override,
            epoch=epoch,
            comeback=comeback,
            stable_versions=tuple(VersionRef(str(v), str(d)) for v, d in doc["good"]),
            rejections=tuple(
                Rejection(str(v), str(d), str(w), Stage(s), clean(str(why)))
                for v, d, w, s, why in doc["rejections"]
            ),
            begun_probations=begun,
            contracts=_contracts_from_json(doc.get("classes") or ()),
        )
    except (LookupError, TypeError, OverflowError) as e:
        raise ValueError(f"not a saved state: {e!r}") from e
