# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alarms of the system itself: which there are, and what of a node's state each of them is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgeagent.core.alarms.alarm import Condition, Figures, Key, Severity
from edgeagent.core.text import clean


@dataclass(frozen=True)
class SystemRule:
    """after_s: how long the cause must last until the alarm is raised; clear_s: and be gone until it clears."""

    severity: Severity
    after_s: float = 0.0
    clear_s: float = 5.0
    enabled: bool = True


SYSTEM_RULES: Mapping[str, SystemRule] = {
    "camera_lost": SystemRule("critical", after_s=10.0),
    "camera_frozen": SystemRule("critical"),
    "frames_dropped": SystemRule("warning", clear_s=30.0),
    "engine_restarting": SystemRule("warning", clear_s=30.0),
    "version_refused": SystemRule("warning", clear_s=0.0),
    "version_rolled_back": SystemRule("critical", clear_s=0.0),
    "disk": SystemRule("critical"),
    "config_store": SystemRule("warning", after_s=300.0),
    "api": SystemRule("warning", after_s=30.0),
    "sink": SystemRule("warning", clear_s=60.0),
    "rollout_orphaned": SystemRule("warning"),
    "rule_unusable": SystemRule("warning", clear_s=0.0),
}
"""By name, with the defaults. docs/alarms.md says what each means."""

LOST = ("absent", "lost", "unreadable", "restarting")
"""States of a source that gives nothing."""
GOES_ON = ("running", "frozen", "waiting", "ended")
"""States in which a source is known not to be lost."""
FILES = ("jsonl", "csv", "snapshot")
"""Sinks that a full disk stops."""


@dataclass(frozen=True)
class SystemLimits:
    """rules: by name; those that are missing are as in SYSTEM_RULES. dropped_share: of a pipeline's frames, over
    dropped_over_s seconds, that may be left without a result. min_free_bytes: of the disk of the state folder."""

    rules: Mapping[str, SystemRule] = field(default_factory=dict)
    dropped_share: float = 0.5
    dropped_over_s: float = 60.0
    min_free_bytes: int = 200_000_000

    def rule(self, name: str) -> SystemRule:
        """The one of this name."""
        return self.rules.get(name) or SYSTEM_RULES[name]


@dataclass(frozen=True)
class SinkFacts:
    """lost: records, since the node runs; error: what is wrong with it now, "" for nothing."""

    name: str
    type: str
    lost: int = 0
    error: str = ""


@dataclass(frozen=True)
class PipelineFacts:
    """state, why: of its source. captured, dropped: frames since the node runs, the latter by reason. unusable: why
    rules of it can't be judged by what serves, by their names."""

    name: str
    model: str
    state: str
    why: str = ""
    captured: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    sinks: tuple[SinkFacts, ...] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """A version that was asked for and doesn't serve. rolled_back: it had served before; stage: of its refusal."""

    version: str
    why: str
    rolled_back: bool
    stage: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """serves: the version, None for none. ready: its engine can take frames. restarts: of engine workers, since the
    node runs. refused: None where what is asked for is not. orphaned: why nobody carries its roll-out on, "" where
    somebody does, or there is none."""

    name: str
    serves: str | None = None
    ready: bool = False
    restarts: int = 0
    refused: Refused | None = None
    orphaned: str = ""


@dataclass(frozen=True)
class SystemFacts:
    """What a node knows of itself. disk_error: why something couldn't be written; free_bytes: None where that isn't
    known. config_store, api: why it can't be reached, why it can't be offered; "" where all is well."""

    pipelines: tuple[PipelineFacts, ...] = ()
    models: tuple[ModelFacts, ...] = ()
    disk_error: str = ""
    free_bytes: int | None = None
    config_store: str = ""
    api: str = ""


Finding = tuple[Key, Condition | None]
"""What is wrong under this key; None: nothing. What isn't found at all isn't known."""


def camera(p: PipelineFacts, limits: SystemLimits) -> Iterator[Finding]:
    """Lost: it gives no frames. Frozen: it gives always the same one."""
    if p.state not in LOST and p.state not in GOES_ON:
        return
    why = f": {clean(p.why, 300)}" if p.why else ""
    lost = f"{p.name}: the camera is {p.state}{why}" if p.state in LOST else ""
    todo = "look at the camera, its cable and its power; frames come back by themselves"
    yield finding(
        "camera_lost", limits, lost, todo, pipeline=p.name, figures={"state": p.state, **_said(p.why)}
    )
    frozen = f"{p.name}: the camera always gives the same picture{why}" if p.state == "frozen" else ""
    todo = "start the camera again; what it shows isn't what is there"
    yield finding("camera_frozen", limits, frozen, todo, pipeline=p.name, figures=_said(p.why))


def rules(p: PipelineFacts, limits: SystemLimits) -> Iterator[Finding]:
    """Rules that can't be judged by what serves."""
    said = "; ".join(f"{name}: {why}" for name, why in p.unusable.items())
    text = f"{p.name}: not watched: {clean(said, 600)}" if said else ""
    todo = "correct the rule's classes, or serve a version that has them; the rule is looked at anew with the next swap"
    figures: Figures = {"rules": ", ".join(p.unusable), **_said(said, 600)}
    yield finding("rule_unusable", limits, text, todo, pipeline=p.name, figures=figures)


def model(m: ModelFacts, limits: SystemLimits) -> Iterator[Finding]:
    """What became of the version that was asked for, and of the roll-out that asks for it."""
    r = m.refused
    serves = f"{m.serves} serves" if m.serves else "nothing serves"
    figures: Figures = {
        "version": r.version if r else "",
        "serves": m.serves or "",
        "stage": r.stage if r else "",
        **_said(r.why if r else "", 600),
    }
    for rule, back, words, todo in _REFUSALS:
        holds = r is not None and r.rolled_back == back
        text = f"{m.name}: {r.version} {words}: {clean(r.why, 600)}; {serves}" if holds and r else ""
        yield finding(rule, limits, text, todo, of_model=m.name, figures=figures)
    text = f"{m.name}: its roll-out goes no further: {clean(m.orphaned, 300)}" if m.orphaned else ""
    todo = "start a coordinator (edgeagent coordinate, or fleet.coordinate on a node), or abort the roll-out"
    yield finding("rollout_orphaned", limits, text, todo, of_model=m.name)


_ANOTHER = "publish a better version, or ask for another"
_REFUSALS = (
    (
        "version_refused",
        False,
        "was refused",
        f"see the history for what the gates found; {_ANOTHER}",
    ),
    (
        "version_rolled_back",
        True,
        "was taken back",
        f"see the history for what it did on the line; {_ANOTHER}",
    ),
)


def surroundings(facts: SystemFacts, limits: SystemLimits) -> Iterator[Finding]:
    """The disk, the config store, the API."""
    free = facts.free_bytes
    said = [clean(facts.disk_error, 300)] if facts.disk_error else []
    figures: dict[str, float | str] = {**_said(facts.disk_error)}
    if free is not None:
        figures["free_mb"] = round(free / 1e6, 1)
    if free is not None and free < limits.min_free_bytes:
        figures["least_mb"] = round(limits.min_free_bytes / 1e6)
        said.append(f"less than {figures['least_mb']} MB are free on the disk of the state folder")
    todo = "free some space, or replace the disk; what waits is written as soon as the disk takes it"
    yield finding("disk", limits, "; ".join(said), todo, figures=figures)
    text = facts.config_store and f"the config store can't be reached: {clean(facts.config_store, 300)}"
    todo = "look at its server and the network; what serves goes on, and intents come in when it is back"
    yield finding("config_store", limits, text, todo, figures=_said(facts.config_store))
    text = facts.api and f"the API isn't offered: {clean(facts.api, 300)}"
    todo = "correct what it says; it is tried again every few seconds"
    yield finding("api", limits, text, todo, figures=_said(facts.api))


def _said(why: str, most: int = 300) -> dict[str, str]:
    """As a figure, what another part or system says of it."""
    return {"why": clean(why, most)} if why else {}


def finding(
    rule: str,
    limits: SystemLimits,
    text: str,
    todo: str,
    *,
    pipeline: str = "",
    of_model: str = "",
    figures: Figures | None = None,
) -> Finding:
    """What a rule says of a pipeline, of a model, or of the node. text: "" for nothing."""
    if not text:
        return Key(rule, pipeline, of_model), None
    severity = limits.rule(rule).severity
    said = Condition(rule, rule, severity, text, todo, pipeline or None, of_model or None, figures or {})
    return said.key, said
