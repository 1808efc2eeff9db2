# SPDX-License-Identifier: AGPL-3.0-or-later
"""TensorRT engines that this node built, on an NVIDIA GPU. torch lends memory, streams and graphs."""

from __future__ import annotations

from typing import Any

import tensorrt as trt
import torch

from edgeagent.errors import UsageError, WeightsError
from edgeagent.runtimes.cuda.device import available_devices as torch_devices
from edgeagent.runtimes.cuda.device import choose_device
from edgeagent.runtimes.cuda.graph import CudaNetwork
from edgeagent.runtimes.port import EngineOptions, Tensor, WeightFiles
from edgeagent.runtimes.tensorrt.engine import LOGGER, read_engine, start
from edgeagent.runtimes.variants import engine_name

_DTYPES = {trt.float32: torch.float32, trt.float16: torch.float16}


def available_devices() -> list[str]:
    """The CUDA devices, if TensorRT starts on this machine. Raises UsageError."""
    start(trt.Runtime)
    return [device for device in torch_devices() if device != "cpu"]


class TensorRtRuntime:
    """One engine; an execution context and a CUDA graph for each size of batch."""

    def __init__(self, weights: WeightFiles, options: EngineOptions) -> None:
        """Raises WeightsError (no engine, or built elsewhere), UsageError (device), UnavailableError (disk)."""
        device = choose_device(options.device)
        if device.type != "cuda":
            raise UsageError(f"engine.device {options.device!r}", "TensorRT needs a CUDA device", "use cuda")
        path = weights.path
        self._path, self._device = path, device
        content, self.metadata = read_engine(path, device)
        self.name = engine_name("tensorrt", "cuda", options.precision)
        with torch.cuda.device(device):
            self._runtime = start(trt.Runtime)
            self._engine: Any = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise WeightsError(f"weights {path}", f"TensorRT can't load them ({LOGGER.error})")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._input, self._output = (
            next(name for name in names if self._engine.get_tensor_mode(name) == mode)
            for mode in (trt.TensorIOMode.INPUT, trt.TensorIOMode.OUTPUT)
        )
        self._input_dtype, self._output_dtype = (self._dtype(name) for name in (self._input, self._output))
        self.max_batch = 1
        if self.metadata.batches:
            most = self._engine.get_tensor_profile_shape(self._input, 0)[2][0]
            self.max_batch = min(int(most), max(options.max_batch, 1))
        self._memory: torch.Tensor | None = None
        self._prepared: dict[tuple[int, ...], tuple[Any, torch.Tensor]] = {}
        self._network = CudaNetwork(self._infer, device)

    def run(self, batch: Tensor) -> Tensor:
        """See `Runtime.run`."""
        try:
            return self._network.run(batch)
        except RuntimeError as e:
            why = " ".join(str(e).split())[:300]
            raise WeightsError(f"weights {self._path}", f"TensorRT can't run them ({why})") from e

    def streams(self) -> tuple[()]:
        """See `Runtime.streams`: none."""
        return ()

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._network, self._prepared, self._engine, self._memory

    def _dtype(self, name: str) -> torch.dtype:
        kind = self._engine.get_tensor_dtype(name)
        if kind not in _DTYPES:
            raise WeightsError(f"weights {self._path}", f"{name} of the network is {kind}, not floats")
        return _DTYPES[kind]

    def _infer(self, batch: torch.Tensor) -> torch.Tensor:
        shape = tuple(batch.shape)
        picture = batch.to(self._input_dtype)
        if shape not in self._prepared:
            self._prepared[shape] = self._prepare(shape)
        context, output = self._prepared[shape]
        context.set_tensor_address(self._input, picture.data_ptr())
        context.set_tensor_address(self._output, output.data_ptr())
        if not context.execute_async_v3(torch.cuda.current_stream(self._device).cuda_stream):
            raise RuntimeError(LOGGER.error)
        return output

    def _prepare(self, shape: tuple[int, ...]) -> tuple[Any, torch.Tensor]:
        """A context for one shape (a captured graph ends when its context changes shape), and its output."""
        context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise RuntimeError(LOGGER.error)
        if self._memory is None:  # for what lies between the layers; of all contexts one runs at a time
            size = max(self._engine.device_memory_size_v2, 1)
            self._memory = torch.empty(size, dtype=torch.uint8, device=self._device)
        context.set_device_memory(self._memory.data_ptr(), self._memory.nbytes)
        if not context.set_input_shape(self._input, shape):
            raise RuntimeError(f"an input of shape {shape} is not what the engine was built for")
        sizes = tuple(context.get_tensor_shape(self._output))
        if min(sizes) < 0:
            raise RuntimeError("the shape of the output depends on what the picture shows")
        return context, torch.empty(sizes, dtype=self._output_dtype, device=self._device)
