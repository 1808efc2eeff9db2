# SPDX-License-Identifier: AGPL-3.0-or-later
"""The labelled pictures of the site: whether they open, and whether they are enough to tell anything."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import Finding, failure
from edgeagent.cli.golden_check import examine_set
from edgeagent.errors import EdgeAgentError


def golden_sets(x: Examination) -> Iterator[Finding]:
    """Of each model that has one."""
    for model, data in x.config.update.golden.items():
        subject = f"golden set of {model}"
        try:
            level, text = examine_set(x.config, model, data)
            yield Finding(level, subject, text)
        except EdgeAgentError as e:
            yield failure(subject, e)
