# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page's texts: every language has them all, with the same values to fill in; and what scripts ask for is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from edgeagent.core.alarms.system import (
    SYSTEM_RULES,
    ModelFacts,
    PipelineFacts,
    Refused,
    SinkFacts,
    SystemFacts,
    SystemLimits,
)
from edgeagent.core.alarms.system_watch import SystemWatch
from edgeagent.core.fleet_report import Phase
from edgeagent.core.lifecycle import Stage
from edgeagent.core.rollout import Cause, Status
from edgeagent.gates import GATES
from edgeagent.web.page_routes import FOLDER

LANGUAGES = sorted(path.stem for path in (FOLDER / "lang").glob("*.json"))
SCRIPTS = sorted(path for path in FOLDER.rglob("*.js") if "vendor" not in path.parts)
PLURALS = (".one", ".other", ".few", ".many", ".zero", ".two")


def texts(language: str) -> dict[str, str]:
    """One language's."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs), "a key is there twice"
        return dict(pairs)

    found: dict[str, str] = json.loads(
        (FOLDER / "lang" / f"{language}.json").read_text("utf-8"), object_pairs_hook=once
    )
    return found


def base(key: str) -> str:
    """A key without the ending for a number."""
    return next((key.removesuffix(end) for end in PLURALS if key.endswith(end)), key)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_all_texts(language: str) -> None:
    """The same keys, none empty, and the same {values} in each."""
    english, other = texts("en"), texts(language)
    assert {base(key) for key in other} == {base(key) for key in english}
    assert all(text.strip() for text in other.values())
    for key, text in other.items():
        named = english.get(key) or english[base(key) + ".other"]
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", named)), key


def test_scripts_ask_for_texts_that_are_there() -> None:
    """Each key that stands in a script as it is; those that are put together are looked up with `has` or `word`."""
    known = {form for key in texts("en") for form in (key, base(key))}
    asked = {
        (path.name, key)
        for path in SCRIPTS
        for key in re.findall(r"""\bt\(\s*["']([a-z_]+(?:\.[A-Za-z_0-9-]+)+)["']""", path.read_text("utf-8"))
    }
    assert len(asked) > 100
    assert {(name, key) for name, key in asked if key not in known} == set()


def test_nothing_shown_is_html_of_others() -> None:
    """No script makes elements from text, or runs it."""
    for path in SCRIPTS:
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|dangerouslySet",
            path.read_text("utf-8"),
        )
        assert not found, (path.name, found)


@pytest.mark.parametrize(
    ("prefix", "values"),
    [
        ("alarm.kind", SYSTEM_RULES),
        ("alarm.do", SYSTEM_RULES),
        ("gate", (gate.name for gate in GATES)),
        ("refusal.gate", (gate.name for gate in GATES)),
        ("stage", Stage),
        ("rollout.status", Status),
        ("rollout.cause", Cause),
        ("rollout.phase", (phase for phase in Phase if phase)),
    ],
)
def test_what_the_node_names_has_a_text(prefix: str, values: Iterable[str]) -> None:
    """Its kinds, stages, states and causes."""
    assert {f"{prefix}.{value}" for value in values} - texts("en").keys() == set()


def in_trouble(frames: int) -> SystemFacts:
    """A node on which nothing is well."""
    lines = (
        PipelineFacts(
            "a", "m", "lost", "no frame", frames, {"busy": frames}, (SinkFacts("s", "mqtt", frames),)
        ),
        PipelineFacts("b", "m", "frozen", unusable={"r": "v1 has no class x"}),
    )
    models = (
        ModelFacts("m", "v1", refused=Refused("v2", "too slow", False, "GATING"), orphaned="nobody leads"),
        ModelFacts("n", "v1", refused=Refused("v2", "too slow", True, "PROBATION")),
    )
    return SystemFacts(lines, models, "full", 1000, "away", "taken")


def test_alarms_of_the_system_have_the_figures_of_their_sentences() -> None:
    """So that the page can say in its language what the node says in English."""
    watch = SystemWatch(
        SystemLimits({name: replace(rule, after_s=0.0) for name, rule in SYSTEM_RULES.items()})
    )
    watch.observe(in_trouble(0), 0.0)
    raised = {what.kind: what.figures for what in watch.observe(in_trouble(1000), 60.0).active.values()}
    assert raised.keys() == SYSTEM_RULES.keys()
    english = texts("en")
    made = {
        "camera_lost": {"state": "state"},
        "frames_dropped": {"why": "reason"},
    }  # of a figure, on the page
    for kind, figures in raised.items():
        named = set(re.findall(r"\{(\w+)\}", english[f"alarm.says.{kind}"]))
        assert {made.get(kind, {}).get(name, name) for name in named} <= figures.keys(), kind
    assert raised["disk"]["least_mb"] == 200
