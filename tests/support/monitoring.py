# SPDX-License-Identifier: AGPL-3.0-or-later
"""The alert rules and the dashboard in deploy/monitoring, and what they ask of Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "edgeagent.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-edgeagent.json").read_text())


def panels() -> list[dict[str, Any]]:
    """All panels, rows too."""
    return list(DASHBOARD["panels"])


def expressions() -> Iterator[tuple[str, str]]:
    """Each question to Prometheus, and who asks it."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


def shown() -> Iterator[tuple[str, str, set[str]]]:
    """Who shows what it asked for, the question, and the labels that the text beside it names."""
    for rule in RULES:
        yield rule["alert"], rule["expr"], _named("".join(rule["annotations"].values()))
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], _named(target["legendFormat"])
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            tags = set(filter(None, annotation["tagKeys"].split(",")))
            text = annotation["titleFormat"] + annotation["textFormat"]
            yield annotation["name"], annotation["expr"], tags | _named(text)
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            asked, _, label = variable["query"]["query"].removeprefix("label_values(").rpartition(",")
            yield variable["name"], asked, {label.strip(" )")}


def _named(text: str) -> set[str]:
    """Labels in a text of Grafana, `{{model}}`, or of Prometheus, `{{ $labels.model }}`."""
    return set(re.findall(r"\{\{\s*(?:\$labels\.)?([a-z_]+)", text))
