# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page of the interface has every metric that there is, with its labels, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.metric_names import metrics

PAGE = (Path(__file__).parents[3] / "docs" / "interface.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Metrics\n")[2].partition("\n## ")[0]


def described() -> dict[str, tuple[str, ...]]:
    """Labels by name, from the first column of the table."""
    rows = [row.split("|")[1] for row in SECTION.splitlines() if row.startswith("|")]
    found = {}
    for name, _, labels in (m.groups() for row in rows for m in re.finditer(r"`(\w+)(\{([^}]*)\})?`", row)):
        found[name] = tuple(labels.split(",")) if labels else ()
    return found


def test_the_page_and_the_code_have_the_same_metrics() -> None:
    """In both directions, labels and their order too."""
    made = {name: metric.labels for name, metric in metrics().items()}
    assert len(made) > 30
    assert described() == made
