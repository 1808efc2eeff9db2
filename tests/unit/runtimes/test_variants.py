# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which ways there are to run weights, on machines that are described and not had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.errors import MissingExtraError, UsageError
from edgeagent.runtimes import variants as module
from edgeagent.runtimes.convert import product
from edgeagent.runtimes.variants import Variant, runtime_versions, split_device, stream_count, variants

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Describe the machine: installed packages, CUDA, flags of the processor."""

    def describe(
        packages: str = "onnxruntime torch openvino",
        cuda: bool = False,
        cpu: str = "flags : fpu avx2 avx512_bf16",
    ) -> None:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\n{cpu}\n\nprocessor : 1\n{cpu}\n")
        monkeypatch.setattr(module, "_CPUINFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(module, "_CUDA_FILES", (str(tmp_path) if cuda else "/nowhere",))
        has = {p.removesuffix("-gpu") for p in packages.split()}
        monkeypatch.setattr(module, "find_spec", lambda name: name if name in has else None)
        monkeypatch.setattr(module, "_version", lambda name: "1.0" if name in packages.split() else None)

    return describe


def names(found: list[Variant]) -> list[str]:
    """As status shows them."""
    return [variant.name for variant in found]


def test_the_source_s_own_way_comes_first_then_the_exact_ones(machine: Machine) -> None:
    """A checkpoint: torch itself, then what runs its conversion; short formats last."""
    machine()
    assert names(variants("pt")) == ["torch-cpu", "onnxruntime-cpu", "openvino-cpu", "openvino-cpu-bf16"]
    assert names(variants("onnx")) == ["onnxruntime-cpu", "openvino-cpu", "openvino-cpu-bf16"]
    assert names(variants("openvino")) == ["openvino-cpu", "openvino-cpu-bf16"]
    assert names(variants("torchscript")) == ["torchscript-cpu"]
    assert [v.format for v in variants("pt")] == ["pt", "onnx", "onnx", "onnx"]


def test_a_processor_without_short_formats_has_none(machine: Machine) -> None:
    """OpenVINO would imitate them, slower."""
    machine(cpu="flags : fpu avx2")
    assert names(variants("onnx")) == ["onnxruntime-cpu", "openvino-cpu"]
    machine(cpu="Features : fp asimd asimdhp")
    assert names(variants("onnx")) == ["onnxruntime-cpu", "openvino-cpu", "openvino-cpu-fp16"]


def test_a_machine_whose_processor_says_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc: float32 always works."""
    machine()
    monkeypatch.setattr(module, "_CPUINFO", Path("/nowhere/cpuinfo"))
    assert names(variants("onnx")) == ["onnxruntime-cpu", "openvino-cpu"]


def test_a_machine_with_cuda(machine: Machine) -> None:
    """Its ways come beside those of the processor; ONNX Runtime's only with its GPU package."""
    machine("onnxruntime torch tensorrt", cuda=True)
    assert names(variants("pt")) == [
        "torch-cuda",
        "torch-cpu",
        "tensorrt-cuda",
        "onnxruntime-cpu",
        "torch-cuda-fp16",
        "tensorrt-cuda-fp16",
    ]
    assert {v.device for v in variants("pt", device="cuda:1")} == {"cuda:1"}
    assert names(variants("pt", device="cpu")) == ["torch-cpu", "onnxruntime-cpu"]
    machine("onnxruntime-gpu torch", cuda=True)
    assert names(variants("onnx", device="cuda")) == ["onnxruntime-cuda", "onnxruntime-cuda-fp16"]


def test_a_named_backend_is_the_only_one(machine: Machine) -> None:
    """Also TorchScript, which `auto` does not try."""
    machine()
    assert names(variants("pt", "onnxruntime")) == ["onnxruntime-cpu"]
    assert names(variants("pt", "torchscript")) == ["torchscript-cpu"]
    assert names(variants("onnx", "openvino")) == ["openvino-cpu", "openvino-cpu-bf16"]


def test_a_backend_that_is_not_installed_names_its_extra(machine: Machine) -> None:
    """What to type."""
    machine("onnxruntime torch")
    with pytest.raises(MissingExtraError, match=r"pip install 'edgeagent\[openvino\]'"):
        variants("onnx", "openvino")
    with pytest.raises(MissingExtraError, match=r"pip install 'edgeagent\[tensorrt\]'"):
        variants("pt", "tensorrt")
    assert names(variants("onnx")) == ["onnxruntime-cpu"]
    with pytest.raises(UsageError, match=r"edgeagent\[openvino\]"):
        variants("openvino")


@pytest.mark.parametrize(
    ("fmt", "backend", "device", "reason"),
    [
        ("onnx", "tflite", "auto", "unknown; use auto or onnxruntime, openvino"),
        ("onnx", "auto", "tpu", "unknown; use auto, cpu"),
        ("onnx", "auto", "cuda", "no CUDA device"),
        ("onnx", "torch", "auto", "can't load them; use one of auto, onnxruntime, openvino"),
        ("tflite", "auto", "auto", "is unknown; use one of onnx, openvino, pt, torchscript"),
    ],
)
def test_what_can_not_be_had(machine: Machine, fmt: str, backend: str, device: str, reason: str) -> None:
    """Each with what would be needed."""
    machine()
    with pytest.raises(UsageError, match=reason):
        variants(fmt, backend, device)


def test_what_a_gpu_is_needed_for(machine: Machine) -> None:
    """TensorRT, and ONNX Runtime without its GPU package on a machine that has one."""
    machine("onnxruntime torch tensorrt")
    with pytest.raises(UsageError, match="tensorrt needs a CUDA device"):
        variants("onnx", "tensorrt")
    machine("onnxruntime torch", cuda=True)
    with pytest.raises(UsageError, match="onnxruntime-gpu"):
        variants("onnx", "onnxruntime", "cuda")
    machine("onnxruntime torch openvino", cuda=True)
    with pytest.raises(UsageError, match="openvino does not run on device cuda"):
        variants("onnx", "openvino", "cuda")


def test_versions_tell_converted_from_loaded(machine: Machine) -> None:
    """For cache keys: what decides the result, and no more."""
    machine()
    found = variants("pt")[2]
    assert (found.backend, found.format) == ("openvino", "onnx")
    assert runtime_versions(found) == {"openvino": "1.0"}
    assert runtime_versions(found, "onnx") == {"openvino": "1.0"}
    assert runtime_versions(found, "pt") == {"openvino": "1.0", "torch": "1.0"}


def test_products_are_shared_where_they_are_the_same() -> None:
    """One ONNX file for ONNX Runtime and OpenVINO; another in float16."""
    onnx = {
        product(Variant(b, "cpu", p, "onnx"))
        for b, p in (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
    }
    assert onnx == {"model.onnx"}
    assert product(Variant("onnxruntime", "cuda:0", "fp16", "onnx")) == "model-fp16.onnx"
    assert product(Variant("tensorrt", "cuda:0", "fp16", "engine")) == "model-fp16.engine"
    assert product(Variant("tensorrt", "cuda:0", "fp32", "engine")) == "model.engine"
    assert product(Variant("openvino", "cpu", "fp16", "onnx")) == "model.onnx"


def test_what_needs_a_conversion() -> None:
    """Another format; float16 where the file decides."""
    assert not Variant("onnxruntime", "cpu", "fp32", "onnx").needs_conversion(("onnx",))
    assert not Variant("openvino", "cpu", "fp16", "onnx").needs_conversion(("onnx",))
    assert Variant("onnxruntime", "cuda:0", "fp16", "onnx").needs_conversion(("onnx",))
    assert Variant("openvino", "cpu", "fp32", "onnx").needs_conversion(("pt",))


def test_devices() -> None:
    """Kind and index."""
    assert split_device("auto") == ("auto", None)
    assert split_device("cuda") == ("cuda", None)
    assert split_device("cuda:3") == ("cuda", 3)
    for wrong in ("cuda:", "cuda:-1", "cpu:0", "gpu", ""):
        with pytest.raises(UsageError, match="unknown"):
            split_device(wrong)


@pytest.mark.parametrize(
    ("threads", "streams"), [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (6, 3), (7, 3), (8, 4), (31, 4)]
)
def test_threads_are_divided_into_few_streams_with_little_left_over(threads: int, streams: int) -> None:
    """Each stream has as many threads as another."""
    assert stream_count(threads) == streams
    assert streams * (threads // streams) >= 0.8 * threads
