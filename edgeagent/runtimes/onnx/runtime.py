# SPDX-License-Identifier: AGPL-3.0-or-later
"""ONNX Runtime on the CPU, or on an NVIDIA GPU. The only module that imports onnxruntime."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgeagent.errors import UnavailableError, UsageError, WeightsError, WorkerError
from edgeagent.runtimes.metadata import parse_metadata
from edgeagent.runtimes.port import EngineOptions, Tensor, WeightFiles
from edgeagent.runtimes.variants import engine_name, has_cuda, split_device, stream_count

_ERRORS = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    UnicodeDecodeError,  # what it says quotes the file, whose bytes may be no text
)
_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
}
_NOWHERE = "/dev/null"  # no file can stand under it


class OnnxRuntime:
    """A session over one `.onnx` file."""

    def __init__(self, weights: WeightFiles, options: EngineOptions) -> None:
        """Raises WeightsError, UsageError (device or precision), UnavailableError (disk)."""
        self._path = path = weights.path
        device, index = _device(options.device)
        if options.precision not in ("fp32", "fp16") or (options.precision == "fp16" and device == "cpu"):
            raise UsageError(
                f"engine precision {options.precision}", f"is none of ONNX Runtime on {device}", "use fp32"
            )
        self.name = engine_name("onnxruntime", device, options.precision)
        try:
            # Bytes and not the path: what was verified is what runs.
            content = path.read_bytes()
        except OSError as e:
            raise UnavailableError(f"weights {path}", str(e)) from e
        try:
            self._session = ort.InferenceSession(
                content, _session_options(options.threads, {}), providers=_providers(device, index)
            )
            inputs, output = self._session.get_inputs(), self._session.get_outputs()[0]
            if len(inputs) != 1 or inputs[0].type not in _DTYPES or output.type not in _DTYPES:
                raise WeightsError(
                    f"weights {path}",
                    "the network is not one picture of floats in, floats out",
                    "export them anew",
                )
            self._input, self._output, self._dtype = inputs[0].name, output.name, _DTYPES[inputs[0].type]
            self.metadata = parse_metadata(
                self._session.get_modelmeta().custom_metadata_map,
                _sizes(inputs[0].shape),
                _sizes(output.shape),
                "onnx",
            )
            self.max_batch = max(options.max_batch, 1) if self.metadata.batches else 1
            fixed = _open_sizes(inputs[0].shape, (1, 3, *self.metadata.contract.imgsz), self.max_batch)
            if fixed:
                # A shape that is known is calculated once, not in each run.
                self._session = ort.InferenceSession(
                    content, _session_options(options.threads, fixed), providers=_providers(device, index)
                )
            self._streams = stream_count(options.threads) if device == "cpu" and self.max_batch == 1 else 1
            # One thread of a run is its caller's; the session's own help whoever needs them.
            helpers = options.threads - self._streams
            self._narrow = content, _session_options(helpers + 1, fixed)
        except _ERRORS as e:
            raise WeightsError(
                f"weights {path}", f"ONNX Runtime can't load them ({_reason(e)})", "export them anew"
            ) from e
        if device == "cuda" and self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise UsageError(
                f"engine.device {options.device!r}",
                "CUDA did not start, see the log above",
                "use auto or cpu",
            )
        self._bound = (
            _Bound(self._session, self._input, self._output, device, index) if index is not None else None
        )

    def run(self, batch: Tensor) -> Tensor:
        """See `Runtime.run`."""
        picture = np.asarray(batch, self._dtype)
        try:
            if self._bound is not None:
                raw = self._bound.run(picture)
            else:
                (raw,) = self._session.run([self._output], {self._input: picture})
        except _ERRORS as e:
            if "CUDA failure" in str(e):  # lost or full: the next worker may have it again
                raise WorkerError("GPU", _reason(e), "see what nvidia-smi says") from e
            raise WeightsError(f"weights {self._path}", f"ONNX Runtime can't run them ({_reason(e)})") from e
        return np.asarray(raw, dtype=np.float32)

    def streams(self) -> Sequence[OnnxRuntime]:
        """See `Runtime.streams`: one session, with few threads, for all of them."""
        content, options = self._narrow
        del self._narrow  # the weights are in memory often enough
        if self._streams == 1:
            return ()
        stream = copy.copy(self)
        try:
            stream._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except _ERRORS as e:  # it costs speed, no more
            sys.stderr.write(f"frames are not inferred side by side: {_reason(e)}\n")
            return ()
        return (stream,) * self._streams

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._bound, self._session


class _Bound:
    """Inputs that stay on the device from run to run: nothing is allocated there for a frame."""

    def __init__(
        self, session: ort.InferenceSession, input_name: str, output_name: str, device: str, index: int
    ) -> None:
        self._session, self._input, self._output = session, input_name, output_name
        self._device, self._index = device, index
        self._pictures: dict[tuple[int, ...], Any] = {}

    def run(self, picture: NDArray[Any]) -> NDArray[Any]:
        """The output for one shape of input, on the host."""
        place = self._pictures.get(picture.shape)
        if place is None:
            place = ort.OrtValue.ortvalue_from_numpy(picture, self._device, self._index)
            self._pictures[picture.shape] = place
        else:
            place.update_inplace(picture)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input, place)
        binding.bind_output(self._output, self._device, self._index)
        self._session.run_with_iobinding(binding)
        output: NDArray[Any] = binding.copy_outputs_to_cpu()[0]
        return output


def _session_options(threads: int, sizes: dict[str, int]) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = max(threads, 1)
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that spin for work take the core from capture and from the other pipelines.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights in other files are refused before they get here; should one get through, there is nothing to find.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
    # Measured on YOLOv8n at 640: the same latency, 23 MB less.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    return options


def available_devices() -> list[str]:
    """Where ONNX Runtime can calculate here: `cpu`, and `cuda` if this build of it has CUDA and the machine a device;
    which number it has only a session can tell."""
    on_cuda = has_cuda() and "CUDAExecutionProvider" in ort.get_available_providers()
    return ["cpu", "cuda"] if on_cuda else ["cpu"]


def _device(wanted: str) -> tuple[str, int | None]:
    """Where to run: `cpu` and None, or `cuda` and the device's number."""
    kind, index = split_device(wanted)
    if kind != "cpu" and hasattr(ort, "preload_dlls"):
        # CUDA's libraries lie in the packages that torch brings, where the loader does not look.
        ort.preload_dlls()
    available = "CUDAExecutionProvider" in ort.get_available_providers()
    if kind == "cuda" and not available:
        raise UsageError(
            f"engine.device {wanted!r}",
            "the installed ONNX Runtime has no CUDA",
            "use auto or cpu, or replace the package onnxruntime by onnxruntime-gpu[cuda,cudnn]",
        )
    return ("cpu", None) if kind == "cpu" or not available else ("cuda", index or 0)


def _providers(device: str, index: int | None) -> list[str | tuple[str, dict[str, str]]]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    cuda = {
        "device_id": str(index),
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",  # "fp32" is meant
    }
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]


def _open_sizes(shape: list[int | str | None], sizes: tuple[int, ...], max_batch: int) -> dict[str, int]:
    """The named sizes that the graph leaves open, and what they are here; that of the batch only if it is always 1."""
    return {
        name: size
        for axis, (name, size) in enumerate(zip(shape, sizes, strict=True))
        if isinstance(name, str) and (axis or max_batch == 1)
    }


def _sizes(shape: list[int | str | None]) -> tuple[int | None, ...]:
    return tuple(n if isinstance(n, int) and n > 0 else None for n in shape)


def _reason(error: Exception) -> str:
    """ONNX Runtime's message in one line of bearable length."""
    return " ".join(str(error).split())[:300]
