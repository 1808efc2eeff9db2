# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rows of the runtimes: what they name is there, and they agree with each other. Imports none of them."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeagent.core.model import FORMATS
from edgeagent.runtimes.registry import (
    BUILT_IN,
    conversion_chain,
    conversions,
    readers,
    runtime,
    weight_formats,
)


def named() -> list[str]:
    """Every `module:name` of every row."""
    formats = [fmt for row in BUILT_IN for fmt in row.formats]
    rows = [reference for row in BUILT_IN for reference in (row.runtime, row.devices)]
    return sorted(
        {*rows, *(f.reader for f in formats if f.reader), *(m for f in formats for m in f.made_from.values())}
    )


@pytest.mark.parametrize("reference", named())
def test_what_a_row_names_is_defined(reference: str) -> None:
    """Read from the source: TensorRT, for one, can't be imported on most machines."""
    module, _, name = reference.partition(":")
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}


def test_rows_agree() -> None:
    """Each format has a runtime that loads it, each runtime only formats that there are, float32 first."""
    known = weight_formats()
    assert {fmt for row in BUILT_IN for fmt in row.reads} == set(known)
    assert {f.name for f in known.values() if f.reader} == set(FORMATS)
    assert len({row.name for row in BUILT_IN}) == len(BUILT_IN)
    for row in BUILT_IN:
        assert all(precisions[0] == "fp32" for precisions in row.precisions.values())
        assert set(row.precisions) <= {"cpu", "cuda"}
    for fmt in known.values():
        assert set(fmt.made_from) <= set(known)


def test_conversions_are_chains_of_steps() -> None:
    """The fewest steps first; to an engine a checkpoint goes through ONNX."""
    assert conversions("pt") == ["onnx", "torchscript", "engine"]
    assert conversions("onnx") == ["engine"]
    assert conversions("openvino") == conversions("tflite") == []
    assert conversion_chain("pt", "engine") == ["onnx", "engine"]
    assert conversion_chain("pt", "openvino") == []


def test_lookups() -> None:
    """By name and by format; what there is not is None or empty."""
    assert [row.name for row in readers("onnx")] == ["onnxruntime", "openvino"]
    assert readers("tflite") == []
    assert runtime("tflite") is None
    assert runtime("tensorrt") in BUILT_IN
