# SPDX-License-Identifier: AGPL-3.0-or-later
"""The workflow in deploy/ci: its commands are commands of this release, and it gives no secret away."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from edgeagent.cli.main import app
from edgeagent.cli.rollout_options import PlanOptions
from edgeagent.core.rollout import Rollout
from edgeagent.core.rollout_document import encode_rollout

FILE = Path(__file__).parents[3] / "deploy/ci/edgeagent-rollout.yml"
WORKFLOW: dict[str, Any] = yaml.safe_load(FILE.read_text())
GIVEN = re.compile(r"GITHUB_[A-Z_]+|RUNNER_[A-Z]+")
"""Variables that a runner sets."""


def steps() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each step that runs something, and the variables that it has."""
    return [
        (step, {**WORKFLOW["env"], **job.get("env", {}), **step.get("env", {})})
        for job in WORKFLOW["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]


def commands() -> list[list[str]]:
    """What is typed, with the name of each variable for its value."""
    lines = [line for step, _ in steps() for line in step["run"].splitlines()]
    return [shlex.split(re.sub(r"\$\{?(\w+)\}?", r"\1", line)) for line in lines]


def leaves(command: Any) -> Iterator[Any]:
    """The commands below a command."""
    for below in command.commands.values():
        yield from leaves(below) if hasattr(below, "commands") else (below,)


def parsed(args: list[str]) -> dict[str, Any]:
    """What the command line makes of it, by parameter; nothing is run."""
    command, found = typer.main.get_command(app), []
    for leaf in leaves(command):
        leaf.callback = lambda **given: found.append(given)
    command.main(args, prog_name="edgeagent", standalone_mode=False)
    assert len(found) == 1
    return found[0]


OURS = [args[1:] for args in commands() if args[0] == "edgeagent"]


@pytest.mark.parametrize("args", OURS, ids=lambda args: " ".join(args[:2]))
def test_each_command_is_one_of_this_release(args: list[str]) -> None:
    """With all of its options."""
    assert parsed(args)


def test_it_does_what_it_says() -> None:
    """Evaluate, publish, tag, roll out and wait, in that order; the waves make sense."""
    assert [args[0] for args in OURS] == [
        "evaluate",
        "publish",
        "tag",
        "rollout",
        "rollout",
        "tag",
        "rollout",
    ]
    begun = [parsed(args) for args in OURS if args[:2] == ["rollout", "start"]]
    assert [(given["dry_run"], given["wait"]) for given in begun] == [(True, False), (False, True)]
    for given in begun:
        options = PlanOptions(**{f.name: given[f.name] for f in fields(PlanOptions)})
        plan = replace(options.plan("v7", "", ""), came_from="v6", based_on="1", salt="x")
        assert encode_rollout(Rollout("r1", plan, options.limits()))


def test_each_variable_is_set() -> None:
    """By the workflow, or by the runner."""
    for step, env in steps():
        used = set(re.findall(r"\$\{?(\w+)", step["run"]))
        assert {name for name in used if not GIVEN.fullmatch(name)} <= set(env), step["name"]


def test_no_secret_is_on_a_command_line() -> None:
    """Nor is text from outside put into a script: what is in `${{ }}` comes in by variables."""
    for step, env in steps():
        assert "${{" not in step["run"]
        secrets = {name for name, value in env.items() if "secrets." in str(value)}
        written = [line for line in step["run"].splitlines() if any(f"${name}" in line for name in secrets)]
        assert all(line.startswith("printf") for line in written)
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is False
