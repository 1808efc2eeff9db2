# SPDX-License-Identifier: AGPL-3.0-or-later
"""The units: what they start exists, and the coordinator's is shut off at least as the node's is."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer

from edgeagent.cli.main import app

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = ("edgeagent.service", "edgeagent-coordinator.service")
STRICTER = {
    "ProcSubset": ("all", "pid"),
    "SystemCallFilter": (
        "@system-service ~@privileged @obsolete",
        "@system-service ~@privileged @obsolete @resources",
    ),
}
"""What the coordinator can do without, and the node can't."""


def settings(name: str) -> dict[str, str]:
    """The settings of a unit, of one that is given several times all together."""
    found: dict[str, str] = {}
    for line in (FOLDER / name).read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found[key] = f"{found[key]} {value}" if key in found else value
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_unit_starts_is_a_command(name: str) -> None:
    """With the options that it has."""
    program, command, *options = shlex.split(settings(name)["ExecStart"])
    assert program == "/opt/edgeagent/bin/edgeagent"
    known = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    given = {option for option in options if option.startswith("--")}
    assert given <= {name for parameter in known.params for name in parameter.opts}


def test_both_are_kept_alive_alike() -> None:
    """They never give up but for a mistake of ours, and a hang ends them."""
    node, coordinator = (settings(name) for name in SERVICES)
    for key, value in node.items():
        if key.startswith(("Restart", "StartLimit", "Watchdog", "Type", "Notify")):
            assert coordinator[key] == value, key


def test_the_coordinator_is_shut_off_at_least_as_the_node_is() -> None:
    """It needs neither devices nor code that is made at run time."""
    node, coordinator = (settings(name) for name in SERVICES)
    shut = ("Private", "Protect", "Restrict", "NoNew", "Capability", "Ambient", "Lock", "Keyring", "System")
    for key, value in node.items():
        if key.startswith((*shut, "RemoveIPC", "ProcSubset", "User", "Group", "UMask", "LimitCORE")):
            if key.startswith("Restart"):
                continue
            assert (value, coordinator[key]) == STRICTER.get(key, (value, value)), key
    assert coordinator["PrivateDevices"] == coordinator["MemoryDenyWriteExecute"] == "yes"
    assert "PrivateDevices" not in node
