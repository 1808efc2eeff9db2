# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent check` reads the golden sets of a node; and how far a command is, where it takes long."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgeagent.cli.main import main
from tests.support.golden import golden_set


def written(tmp_path: Path, **golden: Path) -> str:
    """A configuration with these sets, by model."""
    path = tmp_path / "c.yaml"
    doc = {
        "pipelines": [{"name": "a", "model": "yolo", "source": {"url": "/x"}}],
        "update": {"golden": {model: str(data) for model, data in golden.items()}},
    }
    path.write_text(yaml.safe_dump(doc))
    return str(path)


@pytest.mark.parametrize("named", [True, False])
def test_a_set_that_can_judge(tmp_path: Path, named: bool) -> None:
    """Also one that names no classes: these are then those of the version."""
    data = golden_set(tmp_path / "set", 3, 0, 2, names=("a", "b", "c") if named else None)
    assert main(["check", "--config", written(tmp_path, yolo=data)]) == 0


def test_each_set_that_can_judge_nothing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, as any other mistake of a configuration; exit code 2."""
    broken = golden_set(tmp_path / "set", 3, text="0 0.5 0.5 20 20")
    assert main(["check", "--config", written(tmp_path, yolo=broken, other=broken)]) == 2
    second, first = capsys.readouterr().err.splitlines()
    assert "update.golden.yolo: label file" in first
    assert "20 is not from 0 to 1 (pixels?)" in first
    assert "update.golden.other: model other: no pipeline uses it" in second
