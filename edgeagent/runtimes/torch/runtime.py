# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ultralytics checkpoints (`.pt`) in torch."""

from __future__ import annotations

from typing import Any

from edgeagent.runtimes.torch.checkpoint import BROKEN, at_size, forward, read_checkpoint

# isort: split
# The line above decides how ultralytics may behave, so it comes first.
import torch

from edgeagent.errors import UsageError, WeightsError, WorkerError
from edgeagent.runtimes.cuda.device import choose_device
from edgeagent.runtimes.cuda.graph import CudaNetwork
from edgeagent.runtimes.port import EngineOptions, Tensor, WeightFiles
from edgeagent.runtimes.torch.threads import set_threads
from edgeagent.runtimes.variants import engine_name


class TorchRuntime:
    """One checkpoint, fused, in torch's eager mode; on CUDA replayed as a graph."""

    def __init__(self, weights: WeightFiles, options: EngineOptions) -> None:
        """Sets the thread counts of this process. Raises WeightsError, UsageError (device or precision)."""
        set_threads(options.threads)
        device = choose_device(options.device)
        half = options.precision == "fp16" and device.type == "cuda"
        if options.precision != "fp32" and not half:
            raise UsageError(
                f"engine precision {options.precision}", f"is none of torch on {device.type}", "use fp32"
            )
        self.name = engine_name("torch", device.type, options.precision)
        self._path = weights.path
        self._model, metadata = read_checkpoint(weights.path)
        self.metadata = at_size(metadata, options.imgsz)
        self.max_batch = max(options.max_batch, 1)
        self._model.requires_grad_(False)
        if half:
            _to_float16(self._model)
        self._dtype = torch.float16 if half else torch.float32
        try:
            self._model.to(device).to(memory_format=torch.channels_last)
        except torch.OutOfMemoryError as e:
            raise WorkerError(f"GPU {device}", _reason(e), "see what nvidia-smi says") from e
        # The head keeps its grid for the last shape only, a captured graph reads it for ever.
        self._grids: dict[torch.Size, Any] = {}
        self._cuda = CudaNetwork(self._infer, device) if device.type == "cuda" else None

    def run(self, batch: Tensor) -> Tensor:
        """See `Runtime.run`."""
        try:
            if self._cuda is not None:
                return self._cuda.run(batch)
            with torch.inference_mode():
                raw: Tensor = self._infer(torch.from_numpy(batch)).numpy()
        except BROKEN as e:
            raise WeightsError(f"weights {self._path}", f"torch can't run them ({_reason(e)})") from e
        return raw

    def streams(self) -> tuple[()]:
        """See `Runtime.streams`: none."""
        return ()

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._model, self._cuda

    def _infer(self, batch: torch.Tensor) -> torch.Tensor:
        # The order of a picture's bytes is the network's: channels last.
        tensor = batch.to(dtype=self._dtype, memory_format=torch.channels_last)
        output = forward(self._model, tensor, self._path)
        head: Any = self._model.model[-1]  # type: ignore[index]
        self._grids[batch.shape] = head.anchors, head.strides
        return output.float()


def _to_float16(model: torch.nn.Module) -> None:
    """Calculate in float16 up to the last convolutions; boxes in pixels need more digits than it has."""
    model.half()
    head: Any = model.model[-1]  # type: ignore[index]
    head.dfl.float()
    for name in ("cv2", "cv3", "one2one_cv2", "one2one_cv3"):
        for branch in getattr(head, name, None) or ():
            branch.register_forward_hook(lambda _layer, _inputs, output: output.float())


def _reason(error: Exception) -> str:
    """torch's message in one line of bearable length."""
    return " ".join(str(error).split())[:300]
