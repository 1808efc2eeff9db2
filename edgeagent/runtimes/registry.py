# SPDX-License-Identifier: AGPL-3.0-or-later
"""The runtimes that there are, a row each, and the formats of weights that come with them. Imports none of them.

A runtime of somebody else is a row too: its package names it under the entry point group `edgeagent.runtimes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

ENTRY_POINTS = "edgeagent.runtimes"


@dataclass(frozen=True)
class WeightFormat:
    """One form that the weights of a network come in.

    name: as in manifests; suffix: how the names of such files end.
    reader: `module:function`, called as `function(WeightFiles) -> ModelMetadata`, which reads what the file says of
    itself without running it; "" for a format that only nodes make, each for itself.
    made_from: by the format of the source, `module:function`, called as `function(source, target, EngineOptions)`
    with two paths: it writes weights in this format to `target`.
    distributions: what pip calls the packages that decide what weights of this format are converted to.
    """

    name: str
    suffix: str
    reader: str = ""
    made_from: Mapping[str, str] = field(default_factory=dict)
    distributions: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuntimeRow:
    """One inference library.

    name: what `engine.backend` says; reads: names of the formats that it loads, those that come with it among them.
    runtime: `module:class`, called as `class(WeightFiles, EngineOptions) -> Runtime`; imported only to load weights.
    devices: `module:function`, called as `function() -> list[str]`: where it can calculate here (`cpu`, `cuda:0`, …).
    precisions: what it calculates in, by kind of device, `fp32` first. On the processor a short format counts only
    where the processor has it.
    package: the module whose presence says that it is installed; distributions: what pip calls the packages that
    decide what it does, for cache keys; extra: that of edgeagent that installs it, "" where it comes with edgeagent;
    install: what to type instead, for packages that edgeagent has no extra for, and for those that a lean install
    leaves out.
    cuda_distribution: what must be installed in place of its package before it runs on CUDA at all; cuda_remedy: how.
    float16_file: whether for `fp16` the file itself must be in float16; else the runtime is told.
    keeps_compiled: whether it reads and writes `EngineOptions.compiled`.
    preload: whether a worker that waits may have `runtime` imported; too much memory, else.
    never_best_for: formats of a source for which `engine.backend: auto` leaves it out, as another is always faster.
    formats: those that come with it.
    """

    name: str
    reads: tuple[str, ...]
    runtime: str
    devices: str
    precisions: Mapping[str, tuple[str, ...]]
    package: str
    distributions: tuple[str, ...]
    extra: str = ""
    install: str = ""
    cuda_distribution: str = ""
    cuda_remedy: str = ""
    float16_file: bool = False
    keeps_compiled: bool = False
    preload: bool = False
    never_best_for: tuple[str, ...] = ()
    formats: tuple[WeightFormat, ...] = ()


_INSTALL_TORCH = "pip install torch torchvision ultralytics"
_ON_BOTH = {"cpu": ("fp32",), "cuda": ("fp32", "fp16")}

BUILT_IN = (
    RuntimeRow(
        name="onnxruntime",
        reads=("onnx",),
        runtime="edgeagent.runtimes.onnx.runtime:OnnxRuntime",
        devices="edgeagent.runtimes.onnx.runtime:available_devices",
        precisions=_ON_BOTH,
        package="onnxruntime",
        distributions=("onnxruntime", "onnxruntime-gpu"),
        cuda_distribution="onnxruntime-gpu",
        cuda_remedy="replace the package onnxruntime by onnxruntime-gpu[cuda,cudnn]",
        float16_file=True,
        preload=True,
        formats=(
            WeightFormat(
                "onnx",
                ".onnx",
                reader="edgeagent.runtimes.onnx_file:read_metadata",
                made_from={"pt": "edgeagent.runtimes.torch.export:export_onnx"},
                distributions=("onnx",),
            ),
        ),
    ),
    RuntimeRow(
        name="openvino",
        reads=("onnx", "openvino"),
        runtime="edgeagent.runtimes.openvino.runtime:OpenVinoRuntime",
        devices="edgeagent.runtimes.openvino.runtime:available_devices",
        precisions={"cpu": ("fp32", "bf16", "fp16")},
        package="openvino",
        distributions=("openvino",),
        extra="openvino",
        keeps_compiled=True,
        preload=True,
        formats=(WeightFormat("openvino", ".xml", reader="edgeagent.runtimes.openvino.ir:read_metadata"),),
    ),
    RuntimeRow(
        name="torch",
        reads=("pt",),
        runtime="edgeagent.runtimes.torch.runtime:TorchRuntime",
        devices="edgeagent.runtimes.cuda.device:available_devices",
        precisions=_ON_BOTH,
        package="torch",
        distributions=("torch", "ultralytics"),
        install=_INSTALL_TORCH,
        formats=(
            WeightFormat(
                "pt",
                ".pt",
                reader="edgeagent.runtimes.torch.checkpoint:read_metadata",
                distributions=("torch", "ultralytics", "onnx"),
            ),
        ),
    ),
    RuntimeRow(
        name="torchscript",
        reads=("torchscript",),
        runtime="edgeagent.runtimes.torch.torchscript_runtime:TorchScriptRuntime",
        devices="edgeagent.runtimes.cuda.device:available_devices",
        precisions=_ON_BOTH,
        package="torch",
        distributions=("torch",),
        install=_INSTALL_TORCH,
        never_best_for=("pt",),
        formats=(
            WeightFormat(
                "torchscript",
                ".torchscript",
                reader="edgeagent.runtimes.torch.torchscript_file:read_metadata",
                made_from={"pt": "edgeagent.runtimes.torch.export:export_torchscript"},
            ),
        ),
    ),
    RuntimeRow(
        name="tensorrt",
        reads=("engine",),
        runtime="edgeagent.runtimes.tensorrt.runtime:TensorRtRuntime",
        devices="edgeagent.runtimes.tensorrt.runtime:available_devices",
        precisions={"cuda": ("fp32", "fp16")},
        package="tensorrt",
        distributions=("tensorrt", "tensorrt_cu12", "tensorrt_cu13", "torch"),
        extra="tensorrt",
        float16_file=True,
        formats=(
            WeightFormat(
                "engine", ".engine", made_from={"onnx": "edgeagent.runtimes.tensorrt.engine:build_engine"}
            ),
        ),
    ),
)
"""In the order in which `auto` prefers them where nothing else decides."""


def runtimes() -> tuple[RuntimeRow, ...]:
    """Every row: those built in, then those of installed packages, by name."""
    return (*BUILT_IN, *_plugins()[0])


def runtime(name: str) -> RuntimeRow | None:
    """The row of that name; installed packages are looked through only when it is not built in."""
    return next((row for row in BUILT_IN if row.name == name), None) or next(
        (row for row in _plugins()[0] if row.name == name), None
    )


def broken_plugins() -> Mapping[str, str]:
    """By name of the entry point, why a row of an installed package is not taken."""
    return _plugins()[1]


def weight_formats() -> dict[str, WeightFormat]:
    """Every format of every row, by name."""
    return {fmt.name: fmt for row in runtimes() for fmt in row.formats}


def readers(fmt: str) -> list[RuntimeRow]:
    """The runtimes that load weights in format `fmt`."""
    return [row for row in runtimes() if fmt in row.reads]


def conversions(fmt: str) -> list[str]:
    """The formats that weights in format `fmt` can be converted to here, the fewest steps first."""
    return [chain[-1] for chain in _chains(fmt)]


def conversion_chain(source: str, target: str) -> list[str]:
    """The formats on the way from `source` to `target`, without the first; empty when there is no way, or no need."""
    return next((chain for chain in _chains(source) if chain[-1] == target), [])


def load_object(reference: str) -> Any:
    """What `module:name` refers to; imports the module. Raises ImportError, AttributeError."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def _chains(source: str) -> Iterator[list[str]]:
    known = weight_formats()
    waiting, seen = [[source]], {source}
    while waiting:
        chain = waiting.pop(0)
        for fmt in known.values():
            if chain[-1] in fmt.made_from and fmt.name not in seen:
                seen.add(fmt.name)
                waiting.append([*chain, fmt.name])
                yield [*chain[1:], fmt.name]


@cache
def _plugins() -> tuple[tuple[RuntimeRow, ...], Mapping[str, str]]:
    """The rows of installed packages, and by name what is wrong with the others. One broken package harms no other."""
    from importlib.metadata import entry_points  # slow to import, and a worker that serves needs none

    rows: dict[str, RuntimeRow] = {}
    broken: dict[str, str] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda e: e.name):
        try:
            row = entry.load()
        except Exception as e:  # noqa: BLE001  (whatever somebody else's module does while it is imported)
            broken[entry.name] = f"{entry.value} can't be loaded ({type(e).__name__}: {e})"
            continue
        if not isinstance(row, RuntimeRow):
            broken[entry.name] = f"{entry.value} is a {type(row).__name__}, not a RuntimeRow"
        elif row.name in rows or any(row.name == known.name for known in BUILT_IN):
            broken[entry.name] = f"there is a runtime {row.name} already"
        else:
            rows[row.name] = row
    return tuple(rows.values()), broken
