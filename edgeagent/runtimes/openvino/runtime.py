# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenVINO on the CPU: ONNX and its own format. The only module that imports openvino."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# `import openvino` reports to Google Analytics and writes under the home folder, without asking (2026.4). With this
# it takes the stand-in that it keeps for machines where its telemetry is not installed.
if "openvino_telemetry" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino as ov

from edgeagent.errors import UnavailableError, UsageError, WeightsError
from edgeagent.runtimes.metadata import parse_metadata
from edgeagent.runtimes.onnx_file import refuse_external_data
from edgeagent.runtimes.openvino.compiled import read_compiled, write_compiled
from edgeagent.runtimes.openvino.ir import BIN, companions_of, ir_metadata, read_graph
from edgeagent.runtimes.port import EngineOptions, ModelMetadata, Tensor, WeightFiles
from edgeagent.runtimes.variants import engine_name, split_device, stream_count

_PRECISIONS = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16, "fp16": ov.Type.f16}
_DTYPES: dict[ov.Type, np.dtype[Any]] = {ov.Type.f32: np.dtype(np.float32), ov.Type.f16: np.dtype(np.float16)}


class OpenVinoRuntime:
    """One compiled network and one request."""

    def __init__(self, weights: WeightFiles, options: EngineOptions) -> None:
        """Raises WeightsError, UsageError (device or precision), NotFoundError, UnavailableError (disk)."""
        if split_device(options.device)[0] == "cuda":
            raise UsageError(
                f"engine.device {options.device!r}", "OpenVINO does not run on CUDA", "use auto or cpu"
            )
        self._path = path = weights.path
        core = ov.Core()
        # Asked for another one, it would calculate in float32, imitate it slowly, and say nothing.
        if options.precision.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UsageError(
                f"engine precision {options.precision}", "this processor can't calculate in it", "use fp32"
            )
        compiled, self.metadata, self._exported = _load_compiled(core, options) or _compile(
            core, weights, options
        )
        if compiled.inputs[0].element_type not in _DTYPES:
            raise WeightsError(f"weights {path}", "the network does not take a picture of floats")
        self._dtype = _DTYPES[compiled.inputs[0].element_type]
        self.max_batch = _max_batch(self.metadata, options)
        self._core, self._compiled, self._options = core, compiled, options
        self._request = compiled.create_infer_request()
        self.name = engine_name("openvino", "cpu", options.precision)

    def run(self, batch: Tensor) -> Tensor:
        """See `Runtime.run`."""
        try:
            # Shared: OpenVINO reads the picture and leaves its output where they are.
            outputs = self._request.infer(
                {0: np.asarray(batch, self._dtype)}, share_inputs=True, share_outputs=True
            )
        except RuntimeError as e:
            raise WeightsError(f"weights {self._path}", f"OpenVINO can't run them ({_reason(e)})") from e
        return np.asarray(outputs[0], dtype=np.float32)

    def streams(self) -> Sequence[OpenVinoRuntime]:
        """See `Runtime.streams`: what was compiled, loaded again for all of them, a request for each."""
        content, self._exported = self._exported, b""  # the network is in memory often enough
        count = stream_count(self._options.threads)
        if count == 1 or self.max_batch > 1:
            return ()
        settings = {**_settings(self._options), "NUM_STREAMS": count}
        try:
            content = content or self._compiled.export_model().getvalue()
            compiled = self._core.import_model(content, "CPU", settings)
            count = compiled.get_property("NUM_STREAMS")  # no more than there are cores
            return [self._with(compiled.create_infer_request()) for _ in range(count)] if count > 1 else ()
        except RuntimeError as e:  # it costs speed, no more
            sys.stderr.write(f"frames are not inferred side by side: {_reason(e)}\n")
            return ()

    def _with(self, request: ov.InferRequest) -> OpenVinoRuntime:
        stream = copy.copy(self)
        stream._request = request
        return stream

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._request, self._compiled


def available_devices() -> list[str]:
    """Where edgeagent uses OpenVINO on this machine: `cpu`, if its plugin for the processor is there."""
    return ["cpu"] if "CPU" in ov.Core().available_devices else []


_Loaded = tuple[ov.CompiledModel, ModelMetadata, bytes]
"""With the network in OpenVINO's own form, if it came in that: what was imported can't be exported again."""


def _load_compiled(core: ov.Core, options: EngineOptions) -> _Loaded | None:
    """What an earlier worker compiled from the same weights with the same options; None when it can't be had."""
    if options.compiled is None or not options.compiled.exists():
        return None
    try:
        content, metadata = read_compiled(options.compiled)
        return core.import_model(content, "CPU", _settings(options)), metadata, content
    except (OSError, ValueError, RuntimeError) as e:  # it costs time, no more
        sys.stderr.write(f"compiled anew, for {options.compiled} can't be used: {e}\n")
        return None


def _compile(core: ov.Core, weights: WeightFiles, options: EngineOptions) -> _Loaded:
    try:
        model, metadata = _read(core, weights)
        most = _max_batch(metadata, options)
        pictures = ov.Dimension(1, most) if most > 1 else ov.Dimension(1)
        # A shape that is known compiles to faster code.
        model.reshape(ov.PartialShape([pictures, 3, *metadata.contract.imgsz]))
        compiled = core.compile_model(model, "CPU", _settings(options))
    except (RuntimeError, UnicodeDecodeError) as e:  # it quotes the file, whose bytes may be no text
        raise WeightsError(
            f"weights {weights.path}", f"OpenVINO can't load them ({_reason(e)})", "export them anew"
        ) from e
    if options.compiled is not None:
        try:
            write_compiled(options.compiled, compiled.export_model().getvalue(), metadata)
        except (OSError, RuntimeError) as e:
            sys.stderr.write(f"what was compiled is not kept: {e}\n")
    return compiled, metadata, b""


def _max_batch(metadata: ModelMetadata, options: EngineOptions) -> int:
    return max(options.max_batch, 1) if metadata.batches else 1


def _read(core: ov.Core, weights: WeightFiles) -> tuple[ov.Model, ModelMetadata]:
    """Bytes and not the path: what was verified is what runs."""
    path = weights.path
    if weights.format == "openvino":
        companions = companions_of(weights)
        graph = read_graph(path)
        metadata = ir_metadata(path, graph, companions)
        try:
            numbers = np.fromfile(companions[BIN], np.uint8)
        except OSError as e:
            raise UnavailableError(f"weights {companions[BIN]}", str(e)) from e
        return core.read_model(graph, ov.Tensor(numbers)), metadata
    try:
        content = path.read_bytes()
    except OSError as e:
        raise UnavailableError(f"weights {path}", str(e)) from e
    refuse_external_data(content, path)
    model = core.read_model(content)
    if len(model.inputs) != 1 or not model.outputs:
        raise WeightsError(f"weights {path}", f"the network has {len(model.inputs)} inputs, not one picture")
    kept = model.get_rt_info(["framework"]).astype(dict) if model.has_rt_info(["framework"]) else {}
    meta = {key: value.astype(str) for key, value in kept.items()}
    metadata = parse_metadata(meta, _sizes(model.inputs[0]), _sizes(model.outputs[0]), "onnx")
    return model, metadata


def _sizes(port: ov.Output) -> tuple[int | None, ...]:
    return tuple(size.get_length() if size.is_static else None for size in port.partial_shape)


def _settings(options: EngineOptions) -> dict[str, object]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": max(options.threads, 1),
        "NUM_STREAMS": 1,
        # The scheduler knows better: other pipelines have threads of their own on the same cores.
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": _PRECISIONS[options.precision],
    }


def _reason(error: Exception) -> str:
    """What OpenVINO says, without the places in its source, in one line of bearable length."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("Exception from"))[:300]
