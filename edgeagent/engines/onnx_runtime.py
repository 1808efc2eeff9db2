# SPDX-License-Identifier: AGPL-3.0-or-later
"""ONNX Runtime on the CPU, or on an NVIDIA GPU. The only module that imports onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgeagent.engines.facts import facts_from_metadata
from edgeagent.engines.port import EngineOptions, Tensor
from edgeagent.errors import UnavailableError, UsageError, WeightsError

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
)
_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
}
_NOWHERE = "/dev/null"  # no file can stand under it


class OnnxRuntime:
    """A session over one `.onnx` file."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        """Raises WeightsError, UsageError (device), UnavailableError (disk)."""
        self._path = path
        try:
            # Bytes and not the path: what was verified is what runs.
            self._session = ort.InferenceSession(
                path.read_bytes(), _session_options(options.threads), providers=_providers(options.device)
            )
        except OSError as e:
            raise UnavailableError(f"weights {path}", str(e)) from e
        except _ERRORS as e:
            raise WeightsError(
                f"weights {path}", f"ONNX Runtime can't load them ({_reason(e)})", "export them anew"
            ) from e
        used = self._session.get_providers()[0]
        on_gpu = used == "CUDAExecutionProvider"
        if options.device.startswith("cuda") and not on_gpu:
            raise UsageError(
                f"engine.device {options.device!r}",
                "CUDA did not start, see the log above",
                "use auto or cpu",
            )
        self.name = "onnxruntime-cuda" if on_gpu else "onnxruntime-cpu"
        inputs, output = self._session.get_inputs(), self._session.get_outputs()[0]
        if len(inputs) != 1 or inputs[0].type not in _DTYPES or output.type not in _DTYPES:
            raise WeightsError(
                f"weights {path}",
                "the network is not one picture of floats in, floats out",
                "export them anew",
            )
        self._input, self._output, self._dtype = inputs[0].name, output.name, _DTYPES[inputs[0].type]
        self.facts = facts_from_metadata(
            self._session.get_modelmeta().custom_metadata_map,
            _sizes(inputs[0].shape),
            _sizes(output.shape),
            "onnx",
        )

    def run(self, batch: Tensor) -> Tensor:
        """See `Runtime.run`."""
        try:
            (raw,) = self._session.run([self._output], {self._input: np.asarray(batch, self._dtype)})
        except _ERRORS as e:
            raise WeightsError(f"weights {self._path}", f"ONNX Runtime can't run them ({_reason(e)})") from e
        return np.asarray(raw, dtype=np.float32)

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._session


def _session_options(threads: int) -> ort.SessionOptions:
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
    return options


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise UsageError(f"engine.device {device!r}", "is unknown", "use auto, cpu, cuda or cuda:0")
    available = "CUDAExecutionProvider" in ort.get_available_providers()
    if kind == "cuda" and not available:
        raise UsageError(
            f"engine.device {device!r}",
            "the installed ONNX Runtime has no CUDA",
            "use auto or cpu, or install onnxruntime-gpu",
        )
    if kind == "cpu" or not available:
        return ["CPUExecutionProvider"]
    cuda = {
        "device_id": index or "0",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]


def _sizes(shape: list[int | str | None]) -> tuple[int | None, ...]:
    return tuple(n if isinstance(n, int) and n > 0 else None for n in shape)


def _reason(error: Exception) -> str:
    """ONNX Runtime's message in one line of bearable length."""
    return " ".join(str(error).split())[:300]
