# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mistakes in a systemd unit that `doctor` finds."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.doctor.examination import Examination
from tests.support.examinations import an_examination, at, found

OURS = (Path(__file__).parents[4] / "deploy" / "systemd" / "edgeagent.service").read_text()
ME = pwd.getpwuid(0).pw_name
CAMERA = {"name": "line-1", "model": "yolo", "source": {"url": "/dev/video0"}}


def examined(tmp_path: Path, unit: str, drop_in: str = "", **sections: Any) -> Examination:
    """A machine with this unit, whose user is the one that looks."""
    x = an_examination(tmp_path, {"uid": 0}, **sections)
    at(x, "etc/systemd/system/edgeagent.service", unit.replace("User=edgeagent", f"User={ME}"))
    if drop_in:
        at(x, "etc/systemd/system/edgeagent.service.d/override.conf", f"[Service]\n{drop_in}\n")
    return x


def texts(x: Examination) -> str:
    """All that is found."""
    return "\n".join(map(str, found(x, "unit")))


def test_our_own_unit_is_right(tmp_path: Path) -> None:
    """With the state where it puts it, a camera and a GPU."""
    x = examined(
        tmp_path,
        OURS,
        node={"state_dir": "/var/lib/edgeagent"},
        engine={"device": "cuda"},
        pipelines=[CAMERA],
    )
    assert texts(x) == ""


def test_folders_that_it_makes_read_only_or_hides(tmp_path: Path) -> None:
    """State and sinks must be among its ReadWritePaths=, and not in a home."""
    sinks = [{"type": "jsonl", "path": "/home/anna/a.jsonl"}]
    pipelines = [
        {"name": "line-1", "model": "yolo", "source": {"url": "synthetic://conveyor"}, "sinks": sinks}
    ]
    x = examined(tmp_path, OURS, pipelines=pipelines)
    said = texts(x)
    assert f"ReadWritePaths={tmp_path / 'state'}" in said
    assert "hides /home/anna" in said
    assert "read-only (node.state_dir)" not in texts(examined(tmp_path, OURS, f"ReadWritePaths={tmp_path}"))


@pytest.mark.parametrize(
    ("change", "drop_in", "says"),
    [
        ("WatchdogSec=60", "", "WatchdogSec= is missing"),
        ("", "WatchdogSec=", "WatchdogSec= is missing"),
        ("Type=notify", "", "Type=notify is missing"),
        ("", "MemoryDenyWriteExecute=yes", "breaks torch"),
        ("DeviceAllow=char-video4linux rw", "", "it lets no camera in"),
        ("", "User=nobody-knows-me", "does not exist"),
    ],
)
def test_what_it_lacks(tmp_path: Path, change: str, drop_in: str, says: str) -> None:
    """A line taken away, or a drop-in that undoes it."""
    assert change in OURS
    x = examined(
        tmp_path, OURS.replace(f"{change}\n", "\n", 1) if change else OURS, drop_in, pipelines=[CAMERA]
    )
    assert says in texts(x)


def test_another_user_than_the_one_who_looks(tmp_path: Path) -> None:
    """What is found holds for whoever looks."""
    x = an_examination(tmp_path, {"uid": 12345})
    at(x, "usr/lib/systemd/system/edgeagent.service", OURS.replace("User=edgeagent", f"User={ME}"))
    assert f"sudo -u {ME} edgeagent doctor" in texts(x)


def test_the_unit_of_another_configuration(tmp_path: Path) -> None:
    """Its folders are not those of this one."""
    x = examined(tmp_path, OURS)
    x.file = tmp_path / "mine.yaml"
    assert texts(x) == ""
