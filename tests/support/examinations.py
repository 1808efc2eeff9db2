# SPDX-License-Identifier: AGPL-3.0-or-later
"""A machine and a configuration for `doctor` to look at, where a test says what is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeagent.cli.doctor.checks import CHECKS
from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import Finding
from edgeagent.cli.doctor.machine import Machine
from edgeagent.config import parse_config

NOW = 1_795_000_000.0
GB = 1 << 30


def a_machine(root: Path, **facts: Any) -> Machine:
    """One on which all is well. root: below which its files are."""
    well: dict[str, Any] = {
        "environ": {},
        "uid": 990,
        "groups": frozenset({990}),
        "hostname": "press-12",
        "encoding": "utf-8",
        "now": lambda: NOW,
        "version": lambda name: {"opencv-python": "5.0"}.get(name),
        "requires": lambda name: [],
        "open_files": lambda: 16384,
        "memory": lambda: (16 * GB, 8 * GB),
        "has_memfd": lambda: True,
    }
    return Machine(root, **well | facts)


def an_examination(folder: Path, machine: dict[str, Any] | None = None, **sections: Any) -> Examination:
    """Of one pipeline, with its state in a folder. machine: facts; sections: of the configuration."""
    (folder / "state").mkdir(parents=True, exist_ok=True)
    doc: dict[str, Any] = {
        "node": {"id": "press-12", "state_dir": folder / "state"},
        "config_store": {"url": f"file://{folder}/intent"},
        "model_store": {"url": str(folder / "store")},
        "pipelines": [{"name": "line-1", "model": "yolo", "source": {"url": "synthetic://conveyor"}}],
    }
    for name, section in sections.items():
        known = doc.get(name)
        doc[name] = {**known, **section} if isinstance(known, dict) else section
    return Examination(parse_config(doc), machine=a_machine(folder / "root", **(machine or {})))


def at(x: Examination, path: str, text: str) -> Path:
    """A file of the machine."""
    file = x.machine.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def found(x: Examination, check: str) -> list[Finding]:
    """What one check finds that is not well; each with a remedy."""
    (row,) = (c for c in CHECKS if c.name == check)
    bad = [finding for finding in row.run(x) if finding.level != "ok"]
    assert all(finding.todo for finding in bad), bad
    return bad


def only(x: Examination, check: str) -> Finding:
    """The same of a check that finds one thing."""
    (finding,) = found(x, check)
    return finding


def on(x: Examination, **facts: Any) -> Examination:
    """The same on a machine with other facts."""
    return replace(x, machine=replace(x.machine, **facts))
