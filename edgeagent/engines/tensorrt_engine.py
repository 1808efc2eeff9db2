# SPDX-License-Identifier: AGPL-3.0-or-later
"""TensorRT engines as files: built here from ONNX, and refused where they were not built.

An engine is machine code for one kind of GPU and one version of TensorRT. The file begins with a line of JSON that
says for which, and what the network is; the engine follows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import tensorrt as trt
import torch

from edgeagent.engines.facts import facts_from_metadata
from edgeagent.engines.inspect import refuse_external_data
from edgeagent.engines.port import EngineOptions, WeightFacts
from edgeagent.engines.torch_device import choose_device
from edgeagent.engines.variants import Variant
from edgeagent.errors import UnavailableError, WeightsError

MAX_HEADER_BYTES = 16 << 20
_MARK = "edgeagent-tensorrt-1"
LOGGER = trt.Logger(trt.Logger.WARNING)


class EngineFile(NamedTuple):
    """What an engine file holds: the engine, in TensorRT's own form, and the facts of its network."""

    engine: bytes
    facts: WeightFacts


def build_engine(
    source: Path, target: Path, variant: Variant, options: EngineOptions, timing_cache: Path | None
) -> None:
    """Build the ONNX file `source` for the GPU of `variant`, and write the engine file.

    It calculates in what `source` says: for float16 give it `onnx_half`'s output. timing_cache: measurements of
    kernels, read and written, so that the next network of this kind takes a fraction of the time.
    Raises WeightsError (TensorRT can't), UsageError (no such GPU), OSError.
    """
    device = choose_device(variant.device)
    content = source.read_bytes()
    refuse_external_data(content, source)
    with torch.cuda.device(device):
        builder = trt.Builder(LOGGER)
        network = builder.create_network(_flags())
        parser = trt.OnnxParser(network, LOGGER)
        if not parser.parse(content):
            errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise _failed(source, errors)
        metadata = _metadata(content)
        taken, given = (_shape(tensor.shape) for tensor in (network.get_input(0), network.get_output(0)))
        facts = facts_from_metadata(metadata, taken, given, "engine")
        config = builder.create_builder_config()
        if hasattr(trt.BuilderFlag, "TF32"):
            config.clear_flag(trt.BuilderFlag.TF32)  # "fp32" is meant
        if None in taken:
            profile = builder.create_optimization_profile()
            one = (1, 3, *facts.contract.imgsz)
            most = (max(options.max_batch, 1) if facts.batches else 1, *one[1:])
            profile.set_shape(network.get_input(0).name, min=one, opt=most, max=most)
            config.add_optimization_profile(profile)
        known = timing_cache.read_bytes() if timing_cache is not None and timing_cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise _failed(source, "it gives no engine, see the log above")
        if timing_cache is not None:
            timing_cache.write_bytes(bytes(config.get_timing_cache().serialize()))
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
    facts = facts_from_metadata(header["metadata"], tuple(header["input"]), tuple(header["output"]), "engine")
    return EngineFile(engine, facts)


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
