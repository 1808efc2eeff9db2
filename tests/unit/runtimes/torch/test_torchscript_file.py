# SPDX-License-Identifier: AGPL-3.0-or-later
"""TorchScript archives, good ones and those that want more than to calculate."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path

import pytest

from edgeagent.core.model import Contract
from edgeagent.errors import WeightsError
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.torch.torchscript_file import read_script

CONFIG = json.dumps(
    {"task": "detect", "names": {"0": "a", "1": "b"}, "imgsz": [64, 96], "stride": 32, "head": "Detect"}
)
GOOD = """class Net(Module):
  __parameters__ = []
  training : bool
  def forward(self: __torch__.Net,
    x: Tensor) -> Tensor:
    layer = self.layer
    y = (layer).forward1(torch.silu(x), )
    return torch.cat([y, ops.torchvision.nms(y, y, 0.5)], 1, device=torch.device("cpu"))
"""
ENTRIES = {
    "version": "3",
    "data.pkl": "x",
    "constants.pkl": "x",
    "code/__torch__.py": GOOD,
    "extra/config.txt": CONFIG,
}


def archive(path: Path, **changes: str | bytes | None) -> Path:
    """An archive as torch lays it out, with entries replaced or left out."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {**ENTRIES, **changes}.items():
            if content is not None:
                file.writestr(f"net/{name}", content)
    return path


def test_a_good_archive_says_what_it_detects(tmp_path: Path) -> None:
    """Facts from ultralytics' config, by suffix and by format."""
    path = archive(tmp_path / "w.torchscript")
    metadata = read_metadata(path)
    assert metadata.contract == Contract("detect", ("a", "b"), (64, 96), 32)
    assert (metadata.format, metadata.layout, metadata.batches) == ("torchscript", None, False)
    assert read_metadata(path, "torchscript") == metadata


def test_only_what_was_judged_is_packed(tmp_path: Path) -> None:
    """Other entries do not reach torch."""
    path = archive(
        tmp_path / "w", **{"code/__torch__.py.debug_pkl": "x", "bytecode.pkl": "x", "../evil": "x"}
    )
    packed, _ = read_script(path)
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        assert set(file.namelist()) == {
            "network/version",
            "network/data.pkl",
            "network/constants.pkl",
            "network/code/__torch__.py",
        }
        assert file.read("network/code/__torch__.py").decode() == GOOD


@pytest.mark.parametrize(
    "line",
    [
        'torch.save(x, "out.pt")',
        'x = torch.from_file("secret")',
        "save = torch.save",
        'ops.aten.save(x, "out")',
        "ops.evil.run(x)",
        'y = getattr(torch, "save")',
        'y = getattr(torch, "save").forward(x)',
        "y = fork(self.forward, x)",
        "print(x)",
        'x.save("out")',
        "y = (torch.cat)(x)(x)",
        "y = [torch][0].save(x)",
        "f = lambda q: q",
        "import os",
        "global y",
        "y = 'text'",
        'y = "a b"',
        'y = "a\\"; torch.save(x)"',
        "y = 1  # a comment",
        "y = x; é = y",
    ],
)
def test_source_that_does_more_than_calculate_is_refused(tmp_path: Path, line: str) -> None:
    """Files, other processes, other names for the same, and anything that two readers could read in two ways."""
    source = GOOD.replace("    layer = self.layer\n", f"    layer = self.layer\n    {line}\n")
    with pytest.raises(WeightsError, match="unsafe"):
        read_script(archive(tmp_path / "w", **{"code/__torch__.py": source}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": None}, "no TorchScript archive"),
        ({"data.pkl": None}, "no TorchScript archive"),
        ({"extra/config.txt": None}, "do not say what they detect"),
        ({"extra/config.txt": "{"}, "not JSON"),
        ({"extra/config.txt": "[]"}, "no entries"),
        ({"extra/config.txt": "{}"}, "names is missing"),
        ({"code/__torch__.py": "def ("}, "no source of TorchScript"),
        ({"code/__torch__.py": b"\xff\xfe"}, "no source of TorchScript"),
    ],
)
def test_archives_that_are_refused(
    tmp_path: Path, changes: dict[str, str | bytes | None], reason: str
) -> None:
    """Each with its reason."""
    with pytest.raises(WeightsError, match=reason):
        read_script(archive(tmp_path / "w", **changes))


def test_an_entry_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Two readers could take different ones."""
    path = archive(tmp_path / "w")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
        warnings.simplefilter("ignore", UserWarning)
        file.writestr("other/code/__torch__.py", GOOD)
    with pytest.raises(WeightsError, match="twice"):
        read_script(path)
