# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network on a CUDA device: pinned buffers on both sides, and the whole way there and back as one CUDA graph."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from edgeagent.errors import WeightsError, WorkerError
from edgeagent.runtimes.port import Tensor

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
        # Shared: the graphs run one at a time, and each takes its output to the host before it ends.
        self._pool = torch.cuda.graph_pool_handle()
        self._sizes: dict[tuple[int, ...], _Size] = {}

    def run(self, batch: Tensor) -> Tensor:
        """The output for `batch`; a view that the next call with as many pictures overwrites.

        Raises RuntimeError; WorkerError when the device is full or lost, whatever the weights: another process may
        go on, this one can't.
        """
        try:
            with torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(self._stream):
                return self._run(batch)
        except RuntimeError as e:
            if isinstance(e, torch.OutOfMemoryError) or self._is_lost():
                raise WorkerError(f"GPU {self._device}", _reason(e), "see what nvidia-smi says") from e
            raise

    def _run(self, batch: Tensor) -> Tensor:
        size = self._sizes.get(batch.shape)
        if size is None:
            size = self._sizes[batch.shape] = self._prepared(batch.shape)
        size.host_in.numpy()[...] = batch
        if size.graph is not None:
            size.graph.replay()
        else:
            self._there_and_back(size)
        self._stream.synchronize()
        output: Tensor = size.host_out.numpy()
        return output

    def _prepared(self, shape: tuple[int, ...]) -> _Size:
        size = _Size(shape, self._device)
        for _ in range(_WARM_ROUNDS):
            self._there_and_back(size)
        self._stream.synchronize()
        if self._capture:
            size.graph = self._captured(size)
        return size

    def _captured(self, size: _Size) -> torch.cuda.CUDAGraph | None:
        """None when the network does what no graph can hold: it runs all the same, launched piece by piece."""
        graph = torch.cuda.CUDAGraph()
        try:
            # Of this thread alone: what threads of a runtime do meanwhile is no fault.
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                self._there_and_back(size)
        except (RuntimeError, WeightsError) as e:
            sys.stderr.write(f"runs without a CUDA graph: {_reason(e)}\n")
            self._capture = False  # after a failed capture the pool takes no other
            return None
        return graph

    def _there_and_back(self, size: _Size) -> None:
        size.device_in.copy_(size.host_in, non_blocking=True)
        output = self._forward(size.device_in)
        if size.host_out.shape != output.shape:
            size.host_out = torch.empty(output.shape, dtype=torch.float32, pin_memory=True)
        size.host_out.copy_(output, non_blocking=True)

    def _is_lost(self) -> bool:
        """After an error that no call survives: GPU off the bus, illegal access, driver gone."""
        try:
            torch.cuda.synchronize(self._device)
        except RuntimeError:
            return True
        return False


class _Size:
    """What belongs to one shape of the input."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.host_in = torch.zeros(shape, dtype=torch.float32, pin_memory=True)
        self.device_in = torch.zeros(shape, dtype=torch.float32, device=device)
        self.host_out = torch.empty(0)
        self.graph: torch.cuda.CUDAGraph | None = None


def _reason(error: Exception) -> str:
    """CUDA's message, without the advice to a programmer below it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
