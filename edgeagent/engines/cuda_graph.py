# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network on a CUDA device: pinned buffers on both sides, and the whole way there and back as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgeagent.engines.port import Tensor

_WARM_ROUNDS = 3  # before capture: libraries choose their kernels in the first runs


class CudaNetwork:
    """Runs `forward` for batches of any size up to what fits; keeps buffers and a graph for each size."""

    def __init__(
        self, forward: Callable[[torch.Tensor], torch.Tensor], device: torch.device, capture: bool = True
    ) -> None:
        """`forward`: N×3×H×W float32 on `device` to the head's output there, without a glance at the values.

        capture: False for networks that do look at them (built-in NMS), which no graph can hold.
        """
        self._forward = forward
        self._device = device
        self._capture = capture
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._sizes: dict[tuple[int, ...], _Size] = {}

    def run(self, batch: Tensor) -> Tensor:
        """The output for `batch`; a view that the next call with as many pictures overwrites. Raises RuntimeError."""
        with torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            size = self._sizes.get(batch.shape)
            if size is None:
                size = self._sizes[batch.shape] = _Size(batch.shape, self._device)
                self._prepare(size)
            size.host_in.numpy()[...] = batch
            if size.graph is not None:
                size.graph.replay()
            else:
                self._there_and_back(size)
            self._stream.synchronize()
            output: Tensor = size.host_out.numpy()
        return output

    def _prepare(self, size: _Size) -> None:
        for _ in range(_WARM_ROUNDS):
            self._there_and_back(size)
        self._stream.synchronize()
        if self._capture:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):
                self._there_and_back(size)
            size.graph = graph

    def _there_and_back(self, size: _Size) -> None:
        size.device_in.copy_(size.host_in, non_blocking=True)
        output = self._forward(size.device_in)
        if size.host_out.shape != output.shape:
            size.host_out = torch.empty(output.shape, dtype=torch.float32, pin_memory=True)
        size.host_out.copy_(output, non_blocking=True)


class _Size:
    """What belongs to one shape of the input."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.host_in = torch.zeros(shape, dtype=torch.float32, pin_memory=True)
        self.device_in = torch.zeros(shape, dtype=torch.float32, device=device)
        self.host_out = torch.empty(0)
        self.graph: torch.cuda.CUDAGraph | None = None
