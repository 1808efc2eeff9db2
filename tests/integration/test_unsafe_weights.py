# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checkpoints that want to run something while they load, or later: nothing runs, and the reason is said."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeagent.errors import WeightsError
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from tests.support import weights


class Calls:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that exists only if something ran."""
    return tmp_path / "it-ran"


def refusal(path: Path) -> str:
    """Why the file is refused; by reading and by loading alike."""
    with pytest.raises(WeightsError) as read:
        read_metadata(path)
    with pytest.raises(WeightsError) as loaded:
        load_runtime(path, "pt", EngineOptions(device="cpu"))
    assert str(read.value) == str(loaded.value)
    assert "\n" not in str(read.value)
    return str(read.value)


def test_a_pickle_that_runs_a_command_is_refused_and_does_not_run_it(tmp_path: Path, marker: Path) -> None:
    """The reason names what it wanted to call. The plain way to load it, for comparison, runs the command."""
    path = weights.evil_pt(tmp_path / "evil.pt", marker)
    assert f"{os.system.__module__}.system" in refusal(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_a_command_hidden_beside_a_real_network_does_not_run(tmp_path: Path, marker: Path) -> None:
    """One bad value in an otherwise whole checkpoint."""
    path = tmp_path / "w.pt"
    checkpoint = {"model": weights.tiny_network(), "note": Calls(os.system, f"touch '{marker}'")}
    torch.save(checkpoint, path)
    assert "system" in refusal(path)
    assert not marker.exists()


@pytest.mark.parametrize("function", [eval, exec, __import__])
def test_builtins_are_refused(tmp_path: Path, function: Callable[..., object]) -> None:
    """By name."""
    path = tmp_path / "w.pt"
    torch.save({"model": Calls(function, "1")}, path)
    assert f"it names {function.__name__}," in refusal(path)


def test_a_layer_class_that_is_called_is_refused(tmp_path: Path, marker: Path) -> None:
    """DetectionModel is on the list, but its constructor evaluates text out of its configuration."""
    from ultralytics.nn.tasks import DetectionModel

    code = f"__import__('os').system(\"touch '{marker}'\")"
    path = tmp_path / "w.pt"
    torch.save(
        {"model": Calls(DetectionModel, {"activation": code, "nc": 1, "backbone": [], "head": []})}, path
    )
    assert "it calls ultralytics.nn.tasks.DetectionModel" in refusal(path)
    assert not marker.exists()


def test_getattr_reaches_nothing_but_forward(tmp_path: Path) -> None:
    """Fused checkpoints need it, for that alone."""
    path = tmp_path / "w.pt"
    torch.save({"model": Calls(getattr, torch.nn.Conv2d, "__init__")}, path)
    assert "it takes '__init__'" in refusal(path)


@pytest.mark.parametrize("place", ["forward", "_forward_hooks"])
def test_a_network_that_holds_something_to_call_is_refused(tmp_path: Path, place: str) -> None:
    """A class in the place of a method, or of a hook, would be called with the first frame."""
    network = weights.tiny_network()
    value = torch.nn.Conv2d if place == "forward" else {0: torch.nn.Conv2d}
    vars(network.model[0])[place] = value
    path = tmp_path / "w.pt"
    torch.save({"model": network}, path)
    assert "holds a type among its values" in refusal(path)


def test_a_fused_checkpoint_is_welcome(tmp_path: Path) -> None:
    """Its layers keep a reference to their own method, by way of getattr."""
    path = tmp_path / "w.pt"
    torch.save({"model": weights.tiny_network().float().fuse(verbose=False)}, path)
    assert read_metadata(path).contract.names == weights.NAMES


def test_what_training_leaves_is_left_out(tmp_path: Path) -> None:
    """A checkpoint of a training that has not ended: loss, optimizer, EMA, figures of the run, folders."""
    network = weights.tiny_network()
    network.criterion = network.init_criterion()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    sum(parameter.sum() for parameter in network.parameters()).backward()
    optimizer.step()
    path = tmp_path / "last.pt"
    checkpoint = {
        "epoch": 0,
        "best_fitness": np.float64(0.5),
        "model": None,
        "ema": network,
        "updates": 1,
        "optimizer": optimizer.state_dict(),
        "whole_optimizer": optimizer,
        "train_args": {"imgsz": weights.SIZE, "save_dir": tmp_path},
    }
    torch.save(checkpoint, path)
    assert read_metadata(path).contract.names == weights.NAMES
    runtime = load_runtime(path, "pt", EngineOptions(device="cpu"))
    assert runtime.run(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 7, 84)


@pytest.fixture
def forged_loss(marker: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """A class under the name of ultralytics' loss, all of whose ways to come out of a pickle leave the marker."""
    from ultralytics.utils import loss

    class v8DetectionLoss:
        def __new__(cls, *_: object) -> Any:
            marker.touch()
            return super().__new__(cls)

        def __init__(self, *_: object) -> None:
            marker.touch()

        def __setstate__(self, _: object) -> None:
            marker.touch()

    v8DetectionLoss.__module__, v8DetectionLoss.__qualname__ = loss.__name__, "v8DetectionLoss"
    monkeypatch.setattr(loss, "v8DetectionLoss", v8DetectionLoss)
    return v8DetectionLoss


def test_a_forged_loss_does_not_run(tmp_path: Path, marker: Path, forged_loss: type) -> None:
    """Neither made, nor called, nor given a state; whatever the class of that name would do here."""
    path = tmp_path / "w.pt"
    network = weights.tiny_network()
    network.criterion = forged_loss()
    network.criterion.hyp = 1
    torch.save({"model": network, "called": Calls(forged_loss, "x")}, path)
    marker.unlink()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the plain way would have run it"
    marker.unlink()
    assert read_metadata(path).contract.names == weights.NAMES
    assert not marker.exists()


@pytest.mark.parametrize("place", ["a layer", "a hook", "a reduced command"])
def test_a_leftover_deep_in_the_network_is_refused(tmp_path: Path, marker: Path, place: str) -> None:
    """It hangs on the network itself, and has no say elsewhere; nor does what stands in its state run."""
    from ultralytics.utils.loss import v8DetectionLoss

    network = weights.tiny_network()
    loss = v8DetectionLoss.__new__(v8DetectionLoss)
    if place == "a layer":
        network.model[0].loss = loss
    elif place == "a hook":
        network._forward_hooks[0] = loss
    else:
        vars(loss)["hyp"] = Calls(os.system, f"touch '{marker}'")
        network.criterion = loss
    path = tmp_path / "w.pt"
    torch.save({"model": network}, path)
    assert ("system" if place == "a reduced command" else "unsafe") in refusal(path)
    assert not marker.exists()


def test_a_layer_of_a_newer_ultralytics_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No word of danger: it is a layer, only not one of the ultralytics that is installed here."""
    from ultralytics.nn.modules import block

    class C9k9(torch.nn.Conv2d):
        pass

    C9k9.__module__, C9k9.__qualname__ = block.__name__, "C9k9"
    network = weights.tiny_network()
    network.model[0].conv = C9k9(3, 8, 3)
    path = tmp_path / "w.pt"
    with monkeypatch.context() as patched:
        patched.setattr(block, "C9k9", C9k9, raising=False)
        torch.save({"model": network}, path)
    why = refusal(path)
    assert "C9k9" in why
    assert "newer ultralytics" in why
    assert "unsafe" not in why


def test_a_network_for_grey_pictures_is_told_what_it_takes(tmp_path: Path) -> None:
    """One channel; and nothing of shapes that don't match."""
    network = weights.tiny_network()
    network.model[0].conv = torch.nn.Conv2d(1, 8, 3, 2, 1, bias=False)
    path = tmp_path / "w.pt"
    torch.save({"model": network}, path)
    assert "three channels are needed" in refusal(path)


@pytest.mark.parametrize("name", ["_modules", "_parameters", "task", "names", "stride"])
def test_a_network_of_other_values_is_not_whole(tmp_path: Path, name: str) -> None:
    """Where a table or a number should be: refused, and no worker ends of it."""
    network = weights.tiny_network()
    network.__dict__[name] = True
    path = tmp_path / "w.pt"
    torch.save({"model": network}, path)
    if name == "task":
        assert read_metadata(path).contract.task == "True", "a task that no gate lets pass"
    else:
        assert re.search("not whole|class names", refusal(path))


def test_a_broken_network_says_who_made_it(tmp_path: Path) -> None:
    """Another ultralytics than the one here is the likeliest reason."""
    network = weights.tiny_network()
    del network.model[1].conv
    path = tmp_path / "w.pt"
    torch.save({"model": network, "version": "9.1.0"}, path)
    assert "ultralytics 9.1.0 made them, here is 8" in refusal(path)


def test_a_checkpoint_without_a_network_is_refused(tmp_path: Path) -> None:
    """A bare state dict, a list, another kind of network."""
    path = tmp_path / "w.pt"
    for content, said in (
        ({"model": {"a": torch.zeros(1)}}, "hold no network"),
        ([torch.zeros(1)], "hold a list"),
        ({"model": torch.nn.Sequential(torch.nn.ReLU())}, "not a detection model"),
    ):
        torch.save(content, path)
        assert said in refusal(path)


def test_a_plain_pickle_is_refused(tmp_path: Path, marker: Path) -> None:
    """No archive, no checkpoint."""
    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps({"model": Calls(os.system, f"touch '{marker}'")}))
    assert "no torch checkpoint" in refusal(path)
    assert not marker.exists()


def test_class_names_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    """Four names for a network of three classes: no head fits."""
    network = weights.tiny_network()
    network.names = dict(enumerate("abcd"))
    path = tmp_path / "w.pt"
    torch.save({"model": network}, path)
    assert "4 classes" in refusal(path)


@pytest.mark.parametrize("size", [None, "640", 0, [640], 1 << 20])
def test_an_input_size_that_is_none_is_refused(tmp_path: Path, size: object) -> None:
    """A million pixels a side would take all memory before any gate."""
    network = weights.tiny_network()
    network.args = {"imgsz": size}
    path = tmp_path / "w.pt"
    torch.save({"model": network}, path)
    assert "input size" in refusal(path)


def test_a_script_that_writes_a_file_does_not_run(tmp_path: Path) -> None:
    """TorchScript's interpreter would do it; it is refused before torch sees it."""
    harmless, evil, marker = tmp_path / "harmless.pt", tmp_path / "evil.torchscript", tmp_path / "marker"
    config = {"config.txt": '{"task": "detect", "names": {"0": "a"}, "imgsz": [64, 64], "stride": 32}'}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), str(harmless), _extra_files=config)
        with zipfile.ZipFile(harmless) as source, zipfile.ZipFile(evil, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name.endswith(".py"):
                    content = content.replace(
                        b"return", b'torch.save(input, "%s")\n    return' % bytes(marker)
                    )
                target.writestr(name, content)
        torch.jit.load(str(evil))(torch.zeros(1))
    assert marker.exists(), "the plain way would have written it"
    marker.unlink()
    with pytest.raises(WeightsError, match="unsafe"):
        load_runtime(evil, "torchscript", EngineOptions())
    assert not marker.exists()
