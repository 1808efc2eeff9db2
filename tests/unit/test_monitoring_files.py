# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alert rules and dashboard ask for metrics and labels that there are, and have what their servers need."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.metric_names import series
from tests.support.monitoring import DASHBOARD, ROOT, RULES, expressions, panels, shown

OF_PROMETHEUS = {"up": (), "ALERTS": ("alertname", "alertstate", "severity")}
OF_THE_NODE_PROCESS = {"process_cpu_seconds_total": (), "process_resident_memory_bytes": ()}
EVERYWHERE = {"job", "instance", "site", "__name__"}


@pytest.mark.parametrize(("who", "asked"), list(expressions()))
def test_what_is_asked_for_is_there(who: str, asked: str) -> None:
    """Series by their names, and labels that these have."""
    known = {**series(), **OF_PROMETHEUS, **OF_THE_NODE_PROCESS}
    without_texts = re.sub(r'"[^"]*"', '""', asked)
    named = set(re.findall(r"\b(?:edgeagent|process)_\w+|\bup\b|\bALERTS\b", without_texts))
    assert named, who
    assert named <= known.keys()
    allowed = EVERYWHERE.union(*(known[name] for name in named))
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", without_texts):
        labels = set(re.findall(r"(\w+)\s*[=!]", matchers))
        assert labels <= {*known[name], *EVERYWHERE}, name
    for labels in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", without_texts):
        assert set(re.split(r",\s*", labels)) <= allowed


@pytest.mark.parametrize(("who", "asked", "named"), list(shown()))
def test_what_is_shown_of_an_answer_is_in_it(who: str, asked: str, named: set[str]) -> None:
    """An empty name in a legend or an alert tells nobody which line it is."""
    without_texts = re.sub(r'"[^"]*"', '""', asked)
    if kept := re.findall(r"\bby\s*\(([^)]*)\)", without_texts):
        there = set.intersection(*(set(re.split(r",\s*", labels)) for labels in kept))
    elif re.match(r"(?:sum|count|max|min|avg)\s*\(", without_texts):
        there = set()
    else:
        known = {**series(), **OF_PROMETHEUS, **OF_THE_NODE_PROCESS}
        asked_for = [set(known[word]) for word in re.findall(r"\w+", without_texts) if word in known]
        there = EVERYWHERE.union(set.intersection(*asked_for))
    assert named <= there, who


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """And how bad it is, by the words of the product; docs/monitoring.md has it, too."""
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"].keys() == {"summary", "todo"}
    assert f"`{rule['alert']}`" in (ROOT / "docs" / "monitoring.md").read_text()


def test_names_of_alerts_are_unique() -> None:
    """Else one of two silences the other."""
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """Ids that nobody else has, places that don't overlap, a data source that is asked for, and no server's own id."""
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] in ("row", "stat", "table", "timeseries")
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert (DASHBOARD["id"], DASHBOARD["uid"]) == (None, "edgeagent")
    assert DASHBOARD["schemaVersion"] >= 36
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used <= {*variables, "__rate_interval", "__all"}
