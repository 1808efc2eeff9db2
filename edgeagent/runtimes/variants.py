# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ways in which this node could run weights, found without importing a runtime."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgeagent.errors import MissingExtraError, UsageError

BACKENDS = ("onnxruntime", "openvino", "torch", "torchscript", "tensorrt")

# What each backend loads, and what pip calls the packages that it needs beside those of the base installation.
READS = {
    "onnx": ("onnxruntime", "openvino"),
    "pt": ("torch",),
    "openvino": ("openvino",),
    "torchscript": ("torchscript",),
    "engine": ("tensorrt",),
}
# Into what weights of a format can be converted here, the most faithful first.
CONVERSIONS = {"pt": ("onnx", "torchscript", "engine"), "onnx": ("engine",)}

_PACKAGE = {"torchscript": "torch"}
_EXTRA = {"openvino": "openvino", "tensorrt": "tensorrt"}
_DISTRIBUTIONS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "torch": ("torch", "ultralytics"),
    "torchscript": ("torch",),
    "tensorrt": ("tensorrt", "tensorrt_cu12", "tensorrt_cu13", "torch"),
}
_CONVERTERS = {"pt": ("torch", "ultralytics", "onnx"), "onnx": ("onnx",)}
# Flags of processors that calculate in a short format; without one OpenVINO would only imitate it, slower. (With
# avx512_fp16 alone it takes half as long again as in float32: measured on YOLOv8n and 11n, OpenVINO 2026.4.)
_CPU_FLAGS = {"bf16": {"avx512_bf16", "amx_bf16"}, "fp16": {"amx_fp16", "asimdhp"}}
# A graphics card; a Jetson; a card lent by Windows.
_CUDA_FILES = ("/dev/nvidiactl", "/dev/nvhost-ctrl-gpu", "/usr/lib/wsl/lib/libcuda.so.1")
_CPUINFO = Path("/proc/cpuinfo")

_MAX_STREAMS = 4


@dataclass(frozen=True)
class Variant:
    """One way to run weights on this node.

    backend: one of BACKENDS; device: `cpu`, `cuda:0`, …; precision: `fp32`, `bf16`, `fp16`; format: what is loaded:
    `onnx`, `pt`, `openvino` (IR), `torchscript`, `engine`.
    """

    backend: str
    device: str
    precision: str
    format: str

    @property
    def name(self) -> str:
        """As status and metrics show it: `onnxruntime-cpu`, `openvino-cpu-bf16`, `tensorrt-cuda-fp16`, …"""
        return engine_name(self.backend, self.device, self.precision)

    @property
    def half_file(self) -> bool:
        """Whether the file itself must be in float16: these backends calculate in what it says, the others in what
        they are told."""
        return self.precision == "fp16" and self.backend in ("onnxruntime", "tensorrt")

    def needs_conversion(self, formats: Collection[str]) -> bool:
        """Whether a version that has files of these formats is converted (`convert.convert`) before this loads it."""
        return self.format not in formats or self.half_file


def engine_name(backend: str, device: str, precision: str) -> str:
    """Backend, kind of device and, when it is not float32, the precision."""
    return "-".join((backend, device.partition(":")[0], *(() if precision == "fp32" else (precision,))))


def variants(
    fmt: str, backend: str = "auto", device: str = "auto", alternates: Collection[str] = ()
) -> list[Variant]:
    """Every way in which this node could serve weights of format `fmt`, the nearest to the source first.

    ready: further formats in which the version has them; what is there is not made from the source.

    Reads installed packages, processor flags and device files; imports no runtime, so a variant may still fail to
    load. TorchScript made here from a `.pt` is only among them when asked for: it is never faster than the others.
    Raises UsageError (backend or device unknown, or none is left), MissingExtraError (the package of `backend`).
    """
    if backend not in ("auto", *BACKENDS):
        raise UsageError(f"engine.backend {backend!r}", "is unknown", f"use auto or {', '.join(BACKENDS)}")
    devices = _devices(device)
    if backend != "auto" and not _installed(backend):
        raise missing(backend)
    found = [
        variant
        for d in devices
        for variant in _possible(fmt, d, alternates)
        if backend in ("auto", variant.backend) and _installed(variant.backend)
    ]
    if backend == "auto" and fmt == "pt":
        found = [v for v in found if v.backend != "torchscript"]
    if not found:
        raise UsageError(f"weights in format {fmt!r}", *_why_none(fmt, backend, device))
    # A stable sort: float32 first, and within that the source's own format, then those that are ready.
    return sorted(found, key=lambda v: (v.precision != "fp32", v.needs_conversion((fmt, *alternates))))


def runtime_versions(variant: Variant, source_format: str | None = None) -> dict[str, str]:
    """Versions of the installed packages that decide what `variant` does, for cache keys; with `source_format` also
    of those that convert it. Imports none of them."""
    names = set(_DISTRIBUTIONS[variant.backend])
    if source_format is not None and variant.needs_conversion((source_format,)):
        names.update(_CONVERTERS.get(source_format, ()))
    return {name: version for name in sorted(names) if (version := _version(name))}


def stream_count(threads: int) -> int:
    """Into how many inference streams so many threads of a CPU are divided when pictures wait.

    A run for each picture, on a thread or some, keeps processors busier than all threads on one picture
    (docs/performance.md). They are few, for each takes memory for what a network calculates on its way; and as many as
    leave no more than a fifth of the threads over, for each has the same number of them.
    """
    fitting = (n for n in range(_MAX_STREAMS, 1, -1) if 5 * (threads // n * n) >= 4 * threads >= 4 * n)
    return next(fitting, 1)


def split_device(device: str) -> tuple[str, int | None]:
    """`auto`, `cpu`, `cuda` or `cuda:1` as kind and index. Raises UsageError."""
    kind, colon, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (colon and not (kind == "cuda" and index.isdecimal())):
        raise UsageError(f"engine.device {device!r}", "is unknown", "use auto, cpu, cuda or cuda:0")
    return kind, int(index) if index else None


def missing(backend: str) -> MissingExtraError:
    """The error for a backend whose package is not installed; names the extra that has it."""
    extra = _EXTRA.get(backend)
    return MissingExtraError(
        f"engine.backend {backend}",
        f"package {_PACKAGE.get(backend, backend)} is not installed",
        f"pip install 'edgeagent[{extra}]'" if extra else f"pip install {_PACKAGE.get(backend, backend)}",
    )


def _possible(fmt: str, device: str, alternates: Collection[str]) -> Iterator[Variant]:
    """By formats and device alone, whatever is installed."""
    on_gpu = device != "cpu"
    formats = (fmt, *alternates)
    for loaded in dict.fromkeys((*formats, *(to for f in formats for to in CONVERSIONS.get(f, ())))):
        for backend in READS.get(loaded, ()):
            match backend:
                case "openvino":
                    precisions = () if on_gpu else ("fp32", *_cpu_precisions())
                case "onnxruntime":
                    gpu = on_gpu and _version("onnxruntime-gpu") is not None
                    precisions = ("fp32", "fp16") if gpu else () if on_gpu else ("fp32",)
                case "tensorrt":
                    precisions = ("fp32", "fp16") if on_gpu else ()
                case _:
                    precisions = ("fp32", "fp16") if on_gpu else ("fp32",)
            for precision in precisions:
                yield Variant(backend, device, precision, loaded)


def _devices(wanted: str) -> list[str]:
    kind, index = split_device(wanted)
    cuda = f"cuda:{index or 0}"
    if kind == "cpu":
        return ["cpu"]
    if kind == "cuda":
        if not _has_cuda():
            raise UsageError(
                f"engine.device {wanted!r}", "this machine has no CUDA device", "use auto or cpu"
            )
        return [cuda]
    return [cuda, "cpu"] if _has_cuda() else ["cpu"]


def _why_none(fmt: str, backend: str, device: str) -> tuple[str, str]:
    if fmt not in READS:
        return "is unknown", f"use one of {', '.join(READS)}"
    readers = [b for loaded in (fmt, *CONVERSIONS.get(fmt, ())) for b in READS[loaded]]
    if backend == "auto":
        todo = " or ".join(missing(b).todo for b in readers if not _installed(b))
        return f"nothing installed here runs them on device {device}", todo or "set engine.device: auto"
    if backend not in readers:
        return f"engine.backend {backend} can't load them", f"use one of auto, {', '.join(readers)}"
    if backend == "tensorrt":
        return "TensorRT needs a CUDA device", "use auto"
    if backend == "onnxruntime":
        return (
            "the installed ONNX Runtime has no CUDA",
            "set engine.device: auto, or replace the package onnxruntime by onnxruntime-gpu[cuda,cudnn]",
        )
    return f"{backend} does not run on device {device}", "set engine.device: auto"


def _cpu_precisions() -> tuple[str, ...]:
    try:
        text = _CPUINFO.read_text()
    except OSError:
        return ()  # not Linux: float32 always works
    line = next((row for row in text.splitlines() if row.lower().startswith(("flags", "features"))), "")
    flags = set(line.partition(":")[2].split())
    return tuple(precision for precision, needed in _CPU_FLAGS.items() if flags & needed)


def _has_cuda() -> bool:
    return any(Path(file).exists() for file in _CUDA_FILES)


def _installed(backend: str) -> bool:
    return find_spec(_PACKAGE.get(backend, backend)) is not None


def _version(distribution: str) -> str | None:
    from importlib import metadata  # slow to import, and a worker that serves asks nothing

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
