# SPDX-License-Identifier: AGPL-3.0-or-later
"""A runtime that is ONNX Runtime, until a fault that the weights name shows: what no network can do by itself.

It comes to a node as any runtime of another package does: `install` writes what pip leaves of such a package into a
folder for PYTHONPATH. A fault stands in the metadata of the `.onnx` file: `leak:0.5` (megabytes a frame), `crash:500`,
`hang:200` (on that frame of a process, those of warming up among them; 0: when it is loaded).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.runtimes.registry import ENTRY_POINTS, RuntimeRow

if TYPE_CHECKING:  # the node reads ROW, and has no use for numpy
    from edgeagent.runtimes.port import EngineOptions, ModelMetadata, Runtime, Tensor, WeightFiles

FAULT_KEY = "fault"
BACKEND = "faulty"
_FOR_EVER_S = 1e6


class FaultyRuntime:
    """Passes everything on to ONNX Runtime, and counts the frames."""

    metadata: ModelMetadata
    name = f"{BACKEND}-cpu"
    max_batch = 1

    def __init__(self, weights: WeightFiles, options: EngineOptions) -> None:
        """Raises what ONNX Runtime's does."""
        from edgeagent.runtimes.onnx.runtime import OnnxRuntime

        self._kind, self._amount = _fault_of(weights.path)
        self._frames = 0
        self._leaked: list[bytes] = []
        if self._kind == "crash" and not self._amount:
            self._crash()
        self._inner = OnnxRuntime(weights, replace(options, backend="onnxruntime"))
        self.metadata = self._inner.metadata

    def run(self, batch: Tensor) -> Tensor:
        """See `Runtime.run`."""
        self._frames += len(batch)
        if self._kind == "leak":
            self._leaked.append(b"\x01" * int(self._amount * 2**20))
        elif self._frames >= self._amount and self._kind == "crash":
            self._crash()
        elif self._frames >= self._amount and self._kind == "hang":
            time.sleep(_FOR_EVER_S)
        return self._inner.run(batch)

    def streams(self) -> Sequence[Runtime]:
        """None: frames are counted one after the other."""
        return ()

    def close(self) -> None:
        """See `Runtime.close`."""
        self._inner.close()

    def _crash(self) -> None:
        """As a null pointer would."""
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)


def devices() -> list[str]:
    """Where it calculates."""
    return ["cpu"]


def install(folder: Path) -> str:
    """Write the package's description into `folder` (made); returns what PYTHONPATH must say for nodes to find it."""
    info = folder / "edgeagent_faults-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgeagent-faults\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{BACKEND} = {__name__}:ROW\n")
    root = Path(__file__).parents[1]
    return os.pathsep.join(filter(None, (str(folder), str(root), os.environ.get("PYTHONPATH"))))


def _fault_of(weights: Path) -> tuple[str, float]:
    """Its kind and amount; "" where the file names none."""
    import onnx

    model = onnx.load_model_from_string(weights.read_bytes())
    named = next((entry.value for entry in model.metadata_props if entry.key == FAULT_KEY), "")
    kind, _, amount = named.partition(":")
    return kind, float(amount or 0)


ROW = RuntimeRow(
    name=BACKEND,
    reads=("onnx",),
    runtime=f"{__name__}:FaultyRuntime",
    devices=f"{__name__}:devices",
    precisions={"cpu": ("fp32",)},
    package="bench",
    distributions=("edgeagent-faults", "onnxruntime"),
)
