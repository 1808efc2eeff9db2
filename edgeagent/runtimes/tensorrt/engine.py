# SPDX-License-Identifier: AGPL-3.0-or-later
"""TensorRT engines as files: built here from ONNX, and refused where they were not built.

An engine is machine code for one kind of GPU and one version of TensorRT. The file begins with a line of JSON that
says for which, and what the network is; the engine follows.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import tensorrt as trt
import torch

from edgeagent.errors import UnavailableError, UsageError, WeightsError
from edgeagent.runtimes.cuda.device import choose_device
from edgeagent.runtimes.metadata import parse_metadata
from edgeagent.runtimes.onnx_file import refuse_external_data
from edgeagent.runtimes.port import EngineOptions, ModelMetadata

MAX_HEADER_BYTES = 16 << 20
_MARK = "edgeagent-tensorrt-1"


class _Log(trt.ILogger):  # type: ignore[misc]
    """TensorRT's messages on stderr (its own logger takes stdout, where nobody looks); the last error is kept, for
    its calls say that they failed and not why."""

    def __init__(self) -> None:
        super().__init__()
        self.error = "it gives no reason"

    def log(self, severity: Any, message: str) -> None:
        """TensorRT calls it, from any thread."""
        if severity <= trt.ILogger.ERROR:
            self.error = " ".join(message.split())[:300]
        if severity <= trt.ILogger.WARNING:
            sys.stderr.write(f"TensorRT: {message}\n")


LOGGER = _Log()


class EngineFile(NamedTuple):
    """What an engine file holds: the engine, in TensorRT's own form, and the metadata of its network."""

    engine: bytes
    metadata: ModelMetadata


def build_engine(source: Path, target: Path, options: EngineOptions) -> None:
    """Build the ONNX file `source` for the GPU `options.device`, and write the engine file.

    It calculates in what `source` says: for float16 give it the output of `to_float16`. With `options.timings` the
    next network of this kind takes a fraction of the time.
    Raises WeightsError (TensorRT can't), UsageError (no such GPU, or TensorRT does not start on it), OSError.
    """
    device = choose_device(options.device)
    content = source.read_bytes()
    refuse_external_data(content, source)
    with torch.cuda.device(device):
        builder = start(trt.Builder)
        network = builder.create_network(_flags())
        parser = trt.OnnxParser(network, LOGGER)
        if not parser.parse(content):
            errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise _failed(source, errors)
        if network.num_inputs != 1:
            raise _failed(source, f"it takes {network.num_inputs} inputs, not one picture")
        for i in range(network.num_outputs - 1, 0, -1):  # the first is read, as in the other runtimes
            network.unmark_output(network.get_output(i))
        embedded = _metadata(content)
        taken, given = (_shape(tensor.shape) for tensor in (network.get_input(0), network.get_output(0)))
        metadata = parse_metadata(embedded, taken, given, "engine")
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # "fp32" is meant
        if None in taken:
            profile = builder.create_optimization_profile()
            one = (1, 3, *metadata.contract.imgsz)
            most = (max(options.max_batch, 1) if metadata.batches else 1, *one[1:])
            profile.set_shape(network.get_input(0).name, min=one, opt=most, max=most)
            config.add_optimization_profile(profile)
        if options.timings is not None:
            _use_timings(config, options.timings)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise _failed(source, LOGGER.error)
        if options.timings is not None:
            _keep_timings(config, options.timings)
        header = {**_here(device), "metadata": metadata, "input": taken, "output": given}
    with target.open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.write(bytes(engine))


def read_engine(path: Path, device: torch.device) -> EngineFile:
    """The engine at `path`, if it was built for `device` by the TensorRT that is installed.

    Raises WeightsError (is none, or built elsewhere), UnavailableError (disk).
    """
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_HEADER_BYTES)
            engine = file.read()
    except OSError as e:
        raise UnavailableError(f"weights {path}", str(e)) from e
    try:
        header: Any = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise _foreign(path, "is no engine file of edgeagent") from e
    if not isinstance(header, dict) or header.get("mark") != _MARK:
        raise _foreign(path, "is no engine file of edgeagent")
    for key, here in _here(device).items():
        if header.get(key) != here:
            raise _foreign(path, f"was built for {key} {header.get(key)}, here it is {here}")
    metadata = parse_metadata(header["metadata"], tuple(header["input"]), tuple(header["output"]), "engine")
    return EngineFile(engine, metadata)


def start(part: Callable[[Any], Any]) -> Any:
    """A `trt.Builder` or `trt.Runtime`. Raises UsageError when TensorRT can't use the GPU or its driver."""
    try:
        return part(LOGGER)
    except TypeError as e:  # what the bindings make of a null pointer
        raise UsageError(
            "TensorRT",
            f"does not start ({LOGGER.error})",
            "see whether its package, tensorrt-cu12 or tensorrt-cu13, fits the CUDA version that nvidia-smi shows",
        ) from e


def _use_timings(config: Any, path: Path) -> None:
    known = path.read_bytes() if path.is_file() else b""
    for content in (known, b""):  # those of another TensorRT or GPU are refused: begin anew
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return


def _keep_timings(config: Any, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is not None:
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        partial.write_bytes(bytes(cache.serialize()))
        os.replace(partial, path)


def _here(device: torch.device) -> dict[str, str]:
    """What an engine must have been built for, to run on `device`."""
    properties = torch.cuda.get_device_properties(device)
    return {
        "mark": _MARK,
        "TensorRT": str(trt.__version__),
        "GPU": properties.name,
        "compute capability": f"{properties.major}.{properties.minor}",
    }


def _flags() -> int:
    """Types as the network has them; TensorRT 11 knows nothing else."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _metadata(content: bytes) -> dict[str, str]:
    from onnx import load_model_from_string

    return {entry.key: entry.value for entry in load_model_from_string(content).metadata_props}


def _shape(sizes: Any) -> tuple[int | None, ...]:
    return tuple(int(size) if size > 0 else None for size in sizes)


def _failed(source: Path, why: str) -> WeightsError:
    return WeightsError(f"weights {source}", f"TensorRT can't build them ({' '.join(why.split())[:300]})")


def _foreign(path: Path, why: str) -> WeightsError:
    return WeightsError(f"weights {path}", why, "publish the .onnx or .pt: a node builds its own engine")
