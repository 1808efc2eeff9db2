# SPDX-License-Identifier: AGPL-3.0-or-later
"""The port to a runtime, and the values that go through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeagent.core.model import Contract

Image = NDArray[np.uint8]  # H×W×3, BGR
Tensor = NDArray[np.float32]
Companions = Mapping[str, Path]
"""Where the files are that belong to a network in several files, by format."""


@dataclass(frozen=True)
class WeightFiles:
    """Weights on this machine's disk.

    path: the file that describes the network; format: a name of `registry.weight_formats()`.
    companions: for formats of several files, where the others are; None: beside `path`, as exporters lay them down.
    """

    path: Path
    format: str
    companions: Companions | None = None


@dataclass(frozen=True)
class ModelMetadata:
    """What the weights say of themselves (not what a manifest says of them).

    layout: name of the output layout (a key of `layouts.LAYOUTS`); None when only running the network can tell.
    batches: the network takes any number of pictures at once; else one.
    """

    contract: Contract
    format: str
    layout: str | None = None
    batches: bool = False


class Runtime(Protocol):
    """Weights loaded into one inference library. Not thread-safe; lives in a worker."""

    metadata: ModelMetadata
    name: str  # "onnxruntime-cpu", "openvino-cpu-bf16", ... as status and metrics show it
    max_batch: int  # the most pictures in one run

    def run(self, batch: Tensor) -> Tensor:
        """Infer `batch`, N×3×H×W RGB in 0..1, contiguous, N up to `max_batch`, H×W as in
        `metadata.contract.imgsz`.

        Returns the raw head output, N×…, float32; may be a view that the next call overwrites.
        Raises WeightsError when the runtime refuses.
        """

    def streams(self) -> Sequence[Runtime]:
        """The same weights for pictures that are inferred side by side: each takes one at a time, on its share of the
        threads, called from a thread of its own, while `run` of this one rests. Empty where there is nothing to gain.
        To be asked once.
        """

    def close(self) -> None:
        """Free what can be freed; memory as a whole returns with the worker's exit."""


@dataclass(frozen=True)
class EngineOptions:
    """How to load.

    backend: `auto` or the name of a runtime (see `registry`); device: `auto`, `cpu`, `cuda`, `cuda:0`; threads: 0 is
    one; precision: `fp32`, `bf16` or `fp16`; max_batch: pictures in one run, where the weights take more than one.
    imgsz: (height, width) of the input, where the weights leave it open (`.pt`); else, and with None, it is theirs.
    compiled: where a runtime keeps what it has compiled for the next to load; read if it is there, else written.
    timings: where TensorRT keeps its measurements of kernels for the next engine that it builds; read and written.
    """

    backend: str = "auto"
    device: str = "auto"
    threads: int = 1
    precision: str = "fp32"
    max_batch: int = 1
    imgsz: tuple[int, int] | None = None
    compiled: Path | None = None
    timings: Path | None = None
