# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands that look at a configuration: by itself, and on this machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli.options import FAILED, WRONG, ConfigOption
from edgeagent.cli.tables import printable, show_json

if TYPE_CHECKING:
    from edgeagent.cli.doctor.finding import Finding

JsonOption = Annotated[bool, typer.Option("--json", help="All of it, as JSON.")]


def check(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Say everything that is wrong with a configuration, at once."""
    from edgeagent.config import ConfigError, load_config

    wrong: list[str] = []
    try:
        found = load_config(config)
    except ConfigError as e:
        wrong = list(e.problems)
    else:
        from edgeagent.cli.golden_check import problems

        wrong = list(problems(found))
    if as_json:
        show_json({"file": str(config), "problems": wrong})
    else:
        for problem in wrong:
            typer.echo(f"error: {config}: {printable(problem)}", err=True)
    if wrong:
        raise typer.Exit(WRONG)
    if not as_json:
        pipelines = ", ".join(f"{p.name} ({p.model})" for p in found.pipelines) or "none"
        typer.echo(f"{config} is right; node {found.node.id}, pipelines: {pipelines}")


def doctor(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Try a configuration for real: stores, cameras, runtimes, disk, clock, permissions, limits, the unit."""
    from edgeagent.cli.render_doctor import Report
    from edgeagent.config import ConfigError, load_config

    report = Report(as_json)
    try:
        loaded = load_config(config)
    except ConfigError as e:
        for finding in _mistakes(config, e.problems):
            report.show("configuration", finding)
        report.end()
        raise typer.Exit(WRONG) from e
    from edgeagent.cli.doctor import examine

    levels: Counter[str] = Counter()
    with report:
        for name, finding in examine(loaded, config, report.looks_at):
            levels[finding.level] += 1
            report.show(name, finding)
    raise typer.Exit(FAILED if levels["FAIL"] else 0)


def _mistakes(file: Path, problems: list[str]) -> list[Finding]:
    """Of a configuration that can't be read, or is wrong: the rest can't be tried."""
    from edgeagent.cli.doctor.finding import FAIL, Finding

    found = []
    for problem in problems:
        text, _, allowed = problem.partition("; allowed: ")
        found.append(Finding(FAIL, str(file), text, f"allowed: {allowed}" if allowed else "correct the file"))
    return found
