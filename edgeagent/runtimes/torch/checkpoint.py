# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ultralytics checkpoints (`.pt`): the network in them, and what it says of itself.

A `.pt` is a pickle, a program for the machine that loads it. It is read with `weights_only=True` and a list of the
network classes it may name; never in any other way. On top of that no class may be called while it loads (a stock
checkpoint never does; ultralytics' constructors evaluate text), and what was loaded may hold nothing but networks,
tensors and plain values. What training leaves beside the network (its loss, its optimizer) is known by name, and left
out: an inert thing stands in its place, and nothing of it is executed.
"""

from __future__ import annotations

import importlib
import os
import pickle
import pkgutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

# Read when ultralytics is first imported: install nothing, ask nobody, never evaluate text from a checkpoint, and
# keep settings in a folder that is gone afterwards.
os.environ.update(
    YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false", ULTRALYTICS_SAFE_LOAD="true"
)
with tempfile.TemporaryDirectory(prefix="edgeagent-") as _settings:
    os.environ["YOLO_CONFIG_DIR"] = _settings
    import torch
    import ultralytics.nn.modules
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import IterableSimpleNamespace

from edgeagent.core.model import MAX_IMGSZ, Contract
from edgeagent.errors import WeightsError
from edgeagent.runtimes.detection.layouts import choose_layout
from edgeagent.runtimes.metadata import class_names
from edgeagent.runtimes.port import ModelMetadata, WeightFiles

_PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    torch.Tensor,
    torch.Size,
    torch.device,
    torch.dtype,
)
# What a broken or hostile pickle can raise has no end: each of its operations may fail in its own way.
BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)
# What training leaves beside the network, or hangs onto it, until it ends: modules, and names in others.
_LEFTOVER_MODULES = (
    "ultralytics.utils.loss",
    "ultralytics.utils.tal",
    "ultralytics.yolo.utils.loss",  # as they were called before 8.0.136
    "ultralytics.yolo.utils.tal",
    "ultralytics.optim",
    "torch.optim",
)
_LEFTOVER_NAMES = (
    "builtins.dict",  # what an optimizer's `defaultdict` makes
    "numpy.dtype",  # figures of the last epoch
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "pathlib.PosixPath",  # folders of the run
    "pathlib.WindowsPath",
)


def read_metadata(weights: WeightFiles) -> ModelMetadata:
    """Raises WeightsError, as `read_checkpoint` does."""
    return read_checkpoint(weights.path)[1]


def read_checkpoint(path: Path) -> tuple[torch.nn.Module, ModelMetadata]:
    """The network of an ultralytics checkpoint, in float32, for inference, fused; and what it says of itself.

    Raises WeightsError: not a checkpoint, names something that is not a network, no detection network.
    """
    checkpoint = _unpickle(path)
    try:
        model = _network(checkpoint, path)
        _require_three_channels(model, path)
        model.float().eval()
        model.fuse(verbose=False)
        names = class_names(model.names)
        task = str(getattr(model, "task", None) or "detect")
        stride = int(model.stride.max())
        imgsz = _trained_size(checkpoint, model, path)
        with torch.inference_mode():
            shape = tuple(forward(model, torch.zeros(1, 3, *imgsz), path).shape)
    except BROKEN as e:
        raise WeightsError(
            f"weights {path}",
            f"the network is not whole ({type(e).__name__}: {_one_line(e)}){_other_version(checkpoint)}",
        ) from e
    layout = choose_layout(shape, len(names), imgsz, stride)
    return model, ModelMetadata(Contract(task, names, imgsz, stride), "pt", layout.name, batches=True)


def at_size(metadata: ModelMetadata, imgsz: tuple[int, int] | None) -> ModelMetadata:
    """The metadata of a checkpoint, which takes pictures of any size, when it is used at `imgsz`."""
    return metadata if imgsz is None else replace(metadata, contract=replace(metadata.contract, imgsz=imgsz))


def forward(model: torch.nn.Module, batch: torch.Tensor, path: Path) -> torch.Tensor:
    """The decoded output of the network in evaluation mode. Raises WeightsError."""
    output = model(batch)
    # In eval mode ultralytics gives the decoded output first, then the raw parts for the loss.
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(first, torch.Tensor):
        raise WeightsError(f"weights {path}", f"the network gives a {type(first).__name__}, not a tensor")
    return first


def _network(checkpoint: dict[str, Any], path: Path) -> DetectionModel:
    """The network to use, with nothing on it that could run. Raises WeightsError; anything of BROKEN."""
    model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, torch.nn.Module):
        raise WeightsError(
            f"weights {path}", "hold no network", "publish an ultralytics checkpoint, as training left it"
        )
    _leave_out_leftovers(model)
    _require_inert(model, path)
    if not isinstance(model, DetectionModel):
        task = getattr(model, "task", None)
        raise WeightsError(
            f"weights {path}", f"the network is a {type(model).__name__} (task {task}), not a detection model"
        )
    return model


def _require_three_channels(model: torch.nn.Module, path: Path) -> None:
    first = next((layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)), None)
    if first is not None and first.in_channels != 3:
        raise WeightsError(
            f"weights {path}",
            f"the network takes pictures of {first.in_channels} channels; three channels are needed (colour)",
            "train it with `channels: 3` in data.yaml; a camera without colour gives three equal ones",
        )


def _other_version(checkpoint: dict[str, Any]) -> str:
    """That another ultralytics made the checkpoint, where it says so: a network is bound to the code of its layers."""
    made_by = checkpoint.get("version")
    if not isinstance(made_by, str) or made_by == ultralytics.__version__:
        return ""
    return f"; ultralytics {made_by[:20]} made them, here is {ultralytics.__version__}"


def _one_line(error: Exception) -> str:
    """An error's message in one line of bearable length."""
    return " ".join(str(error).split())[:200]


def _trained_size(checkpoint: dict[str, Any], model: DetectionModel, path: Path) -> tuple[int, int]:
    """The input size that the network was trained for, rounded up to whole strides, as ultralytics predicts with."""
    size = dict(checkpoint.get("train_args") or getattr(model, "args", None) or {}).get("imgsz")
    sides = (size, size) if isinstance(size, int) else size
    if not isinstance(sides, (list, tuple)) or len(sides) != 2 or not all(type(n) is int for n in sides):
        raise WeightsError(f"weights {path}", f"their input size is {size!r}, not a number of pixels")
    stride = max(int(model.stride.max()), 1)
    height, width = (-(-n // stride) * stride for n in sides)
    if not all(32 <= n <= MAX_IMGSZ for n in (height, width)):
        raise WeightsError(
            f"weights {path}", f"their input size {height}×{width} is not from 32 to {MAX_IMGSZ}"
        )
    return height, width


def _unpickle(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        raise WeightsError(
            f"weights {path}", "are no torch checkpoint, or cut off", "publish the file as training left it"
        )
    try:
        known: list[Any] = [*_network_classes(), *_ALIASES, *_leftovers(path)]
        with torch.serialization.safe_globals(known), _no_constructors():
            loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        raise WeightsError(
            f"weights {path}",
            _refused(e),
            "publish an ultralytics detection checkpoint, or its ONNX export",
        ) from e
    except BROKEN as e:
        raise WeightsError(f"weights {path}", f"can't be read ({type(e).__name__}: {_one_line(e)})") from e
    if not isinstance(loaded, dict):
        raise WeightsError(
            f"weights {path}", f"hold a {type(loaded).__name__}, not an ultralytics checkpoint"
        )
    return loaded


def _refused(error: pickle.UnpicklingError) -> str:
    """What the pickle wanted, in one line, without torch's advice to allow it."""
    for line in str(error).splitlines():
        for mark in ("Unsupported global: GLOBAL ", "Trying to load unsupported GLOBAL "):
            if mark in line:
                name = line.split(mark)[1].split()[0]
                if _is_layer_unknown_here(name):
                    return (
                        f"they name {name}, which ultralytics {ultralytics.__version__} doesn't have: "
                        "perhaps made by a newer ultralytics than this"
                    )
                return f"refused as unsafe: it names {name}, which is not part of a detection network"
    text = " ".join(str(error).split()).split("WeightsUnpickler error: ")[-1]
    return f"refused: {text.split(' Check the documentation')[0][:200]}"


def _is_layer_unknown_here(name: str) -> bool:
    """Whether `name` is in one of the modules that hold ultralytics' layers, but not in those installed here."""
    module, _, qualname = name.rpartition(".")
    return name.startswith("ultralytics.nn.") and not hasattr(sys.modules.get(module), qualname)


class _Leftover:
    """Stands for whatever training left: made of anything, and holds nothing of it."""

    def __new__(cls, *_: object) -> _Leftover:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _leftovers(path: Path) -> list[tuple[type, str]]:
    """What the checkpoint names of training's leftovers, each with what stands for it. Raises as `torch.load` does."""
    return [
        (_Leftover, name)
        for name in torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if name in _LEFTOVER_NAMES or name.startswith(tuple(f"{module}." for module in _LEFTOVER_MODULES))
    ]


def _leave_out_leftovers(model: torch.nn.Module) -> None:
    """Take off what hangs on the network itself (its loss, as `criterion`); deeper down, nothing may."""
    for values in (vars(model), vars(model).get("_modules")):
        if isinstance(values, dict):
            for name in [name for name, value in values.items() if isinstance(value, _Leftover)]:
                del values[name]


@cache
def _network_classes() -> tuple[type, ...]:
    """Every layer class that torch and ultralytics define in their own modules, and the detection network itself."""
    layers = {
        value
        for package in (torch.nn.modules, ultralytics.nn.modules)
        for module in _submodules(package)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, torch.nn.Module)
        and value.__module__ == module.__name__
    }
    return (*sorted(layers, key=lambda c: c.__qualname__), DetectionModel, IterableSimpleNamespace)


def _submodules(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{info.name}")


def _method(owner: object, name: str) -> object:
    """Stands for `getattr` in a checkpoint: fused layers keep a reference to their own forward method, no more."""
    of_layer = isinstance(owner, torch.nn.Module) or (
        isinstance(owner, type) and issubclass(owner, torch.nn.Module)
    )
    if not of_layer or name not in ("forward", "forward_fuse"):
        raise pickle.UnpicklingError(f"unsafe: it takes {name!r} of a {type(owner).__name__}")
    return getattr(owner, name)


def _plain_dict(*_: object) -> dict[object, object]:
    """Stands for `defaultdict`: filled by what follows, it makes nothing by itself."""
    return {}


_ALIASES = [
    (_plain_dict, "collections.defaultdict"),
    (_method, "builtins.getattr"),
    (DetectionModel, "ultralytics.nn.tasks.YOLOv10DetectionModel"),
    (torch.nn.Identity, "ultralytics.nn.modules.block.Silence"),
]


@contextmanager
def _no_constructors() -> Iterator[None]:
    """Layers come out of a checkpoint without being called; one that calls a class wants something else."""
    init = torch.nn.Module.__init__

    def refuse(self: torch.nn.Module, *_: object, **__: object) -> None:
        raise pickle.UnpicklingError(f"unsafe: it calls {type(self).__module__}.{type(self).__qualname__}")

    torch.nn.Module.__init__ = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.nn.Module.__init__ = init  # type: ignore[method-assign]


def _require_inert(model: torch.nn.Module, path: Path) -> None:
    """Refuse a network that holds anything callable but layers and their own forward methods, anywhere."""
    layers = frozenset(_network_classes())
    waiting: list[object] = [model]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, _PLAIN):
            continue
        seen.add(id(value))
        function = getattr(value, "__func__", value)
        if isinstance(value, dict):
            waiting.extend(value.keys())
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple, set, frozenset)):
            waiting.extend(value)
        elif type(value) in layers:
            waiting.append(vars(value))
        elif getattr(function, "__name__", "") in ("forward", "forward_fuse"):
            waiting.append(getattr(value, "__self__", None))
        else:
            raise WeightsError(
                f"weights {path}",
                f"refused as unsafe: the network holds a {type(value).__name__} among its values",
                "publish an ultralytics detection checkpoint, or its ONNX export",
            )
