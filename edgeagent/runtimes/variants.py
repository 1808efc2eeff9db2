# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ways in which this node could run weights, found without importing a runtime."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgeagent.errors import MissingExtraError, UsageError
from edgeagent.runtimes.registry import RuntimeRow, conversions, readers, runtime, runtimes, weight_formats

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

    backend: name of a runtime; device: `cpu`, `cuda:0`, …; precision: `fp32`, `bf16`, `fp16`; format: what is loaded:
    `onnx`, `pt`, `openvino` (IR), `torchscript`, `engine`.
    """

    backend: str
    device: str
    precision: str
    format: str

    @property
    def name(self) -> str:
        """As status and metrics show it: `onnxruntime-cpu`, `openvino-cpu-bf16`, `tensorrt-cuda-fp16`."""
        return engine_name(self.backend, self.device, self.precision)

    @property
    def float16_file(self) -> bool:
        """Whether the file itself must be in float16: some backends calculate in what it says, others in what they
        are told."""
        return self.precision == "fp16" and _row(self.backend).float16_file

    @property
    def keeps_compiled(self) -> bool:
        """Whether what it compiles can be kept in a file (`EngineOptions.compiled`) for the next to load."""
        return _row(self.backend).keeps_compiled

    def needs_conversion(self, formats: Collection[str]) -> bool:
        """Whether a version that has files of these formats is converted (`convert.convert`) before this loads it."""
        return self.format not in formats or self.float16_file


def engine_name(backend: str, device: str, precision: str) -> str:
    """Backend, kind of device and, when it is not float32, the precision."""
    return "-".join((backend, device.partition(":")[0], *(() if precision == "fp32" else (precision,))))


def variants(
    fmt: str, backend: str = "auto", device: str = "auto", alternates: Collection[str] = ()
) -> list[Variant]:
    """Every way in which this node could serve weights of format `fmt`, the nearest to the source first.

    alternates: further formats in which the version has them; what is there is not made from the source.

    Reads installed packages, processor flags and device files; imports no runtime, so a variant may still fail to
    load. TorchScript made here from a `.pt` is only among them when asked for: it is never faster than the others.
    Raises UsageError (backend or device unknown, or none is left), MissingExtraError (the package of `backend`).
    """
    if backend != "auto":
        row = _row(backend)
        if not is_installed(row):
            raise missing(backend)
    devices = _devices(device)
    found = [
        variant
        for d in devices
        for variant in _possible(fmt, d, alternates)
        if (
            fmt not in _row(variant.backend).never_best_for
            if backend == "auto"
            else variant.backend == backend
        )
        and is_installed(_row(variant.backend))
    ]
    if not found:
        raise UsageError(f"weights in format {fmt!r}", *_why_none(fmt, backend, device))
    # A stable sort: float32 first, and within that the source's own format, then those that are ready.
    return sorted(found, key=lambda v: (v.precision != "fp32", v.needs_conversion((fmt, *alternates))))


def runtime_versions(variant: Variant, source_format: str | None = None) -> dict[str, str]:
    """Versions of the installed packages that decide what `variant` does, for cache keys; with `source_format` also
    of those that convert it. Imports none of them."""
    names = set(_row(variant.backend).distributions)
    if source_format is not None and variant.needs_conversion((source_format,)):
        names.update(weight_formats()[source_format].distributions)
    return distribution_versions(names)


def distribution_versions(distributions: Collection[str]) -> dict[str, str]:
    """Versions of those that are installed, as pip calls them."""
    return {name: version for name in sorted(distributions) if (version := _version(name))}


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
    """The error for a backend whose package is not installed; says what to type."""
    row = _row(backend)
    return MissingExtraError(
        f"engine.backend {backend}", f"package {row.package} is not installed", _how_to_install(row)
    )


def not_importable(what: str, backend: str, error: ModuleNotFoundError) -> MissingExtraError:
    """The error for a package that wasn't there when `what` was at work for a backend.

    It may be that of another runtime: weights are converted by the one that reads their format.
    """
    row = next((row for row in runtimes() if row.package == error.name), None) or _row(backend)
    return MissingExtraError(what, f"package {error.name} is not installed", _how_to_install(row))


def is_installed(row: RuntimeRow) -> bool:
    """Whether the package that a runtime needs is there; it may still fail to import."""
    return find_spec(row.package) is not None


def has_cuda() -> bool:
    """Whether the machine has a CUDA device, by its device files."""
    return any(Path(file).exists() for file in _CUDA_FILES)


def _row(backend: str) -> RuntimeRow:
    row = runtime(backend)
    if row is None:
        known = ", ".join(known.name for known in runtimes())
        raise UsageError(f"engine.backend {backend!r}", "is unknown", f"use auto or {known}")
    return row


def _how_to_install(row: RuntimeRow) -> str:
    return row.install or "pip install " + (f"'edgeagent[{row.extra}]'" if row.extra else row.package)


def _possible(fmt: str, device: str, alternates: Collection[str]) -> Iterator[Variant]:
    """By formats and device alone, whatever is installed."""
    formats = (fmt, *alternates)
    for loaded in dict.fromkeys((*formats, *(to for f in formats for to in conversions(f)))):
        for row in readers(loaded):
            for precision in _precisions(row, device):
                yield Variant(row.name, device, precision, loaded)


def _precisions(row: RuntimeRow, device: str) -> list[str]:
    """What `row` calculates in on that device of this machine."""
    kind, _ = split_device(device)
    if kind == "cuda" and row.cuda_distribution and _version(row.cuda_distribution) is None:
        return []
    fast = None if kind == "cuda" else {"fp32", *_cpu_precisions()}
    return [p for p in row.precisions.get(kind, ()) if fast is None or p in fast]


def _devices(wanted: str) -> list[str]:
    kind, index = split_device(wanted)
    cuda = f"cuda:{index or 0}"
    if kind == "cpu":
        return ["cpu"]
    if kind == "cuda":
        if not has_cuda():
            raise UsageError(
                f"engine.device {wanted!r}", "this machine has no CUDA device", "use auto or cpu"
            )
        return [cuda]
    return [cuda, "cpu"] if has_cuda() else ["cpu"]


def _why_none(fmt: str, backend: str, device: str) -> tuple[str, str]:
    formats = weight_formats()
    if fmt not in formats:
        return "is unknown", f"use one of {', '.join(f.name for f in formats.values() if f.reader)}"
    able = [row for loaded in (fmt, *conversions(fmt)) for row in readers(loaded)]
    if backend == "auto":
        todo = " or ".join(_how_to_install(row) for row in able if not is_installed(row))
        return f"nothing installed here runs them on device {device}", todo or "set engine.device: auto"
    row = _row(backend)
    if row not in able:
        return (
            f"engine.backend {backend} can't load them",
            f"use one of auto, {', '.join(r.name for r in able)}",
        )
    if "cpu" not in row.precisions:
        return f"{backend} needs a CUDA device", "use auto"
    if row.cuda_distribution and _version(row.cuda_distribution) is None:
        return f"the installed {backend} has no CUDA", f"set engine.device: auto, or {row.cuda_remedy}"
    return f"{backend} does not run on device {device}", "set engine.device: auto"


def _cpu_precisions() -> tuple[str, ...]:
    try:
        text = _CPUINFO.read_text()
    except OSError:
        return ()  # not Linux: float32 always works
    line = next((row for row in text.splitlines() if row.lower().startswith(("flags", "features"))), "")
    flags = set(line.partition(":")[2].split())
    return tuple(precision for precision, needed in _CPU_FLAGS.items() if flags & needed)


def _version(distribution: str) -> str | None:
    from importlib import metadata  # slow to import, and a worker that serves asks nothing

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
