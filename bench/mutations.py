# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions of a model store, damaged: by bad disks and lines, by careless hands, and by somebody who means harm.

A mutation of weights comes with a manifest that fits it, as whoever can write the store would lay it down: hashes hold
nothing up then. Some are damaged behind the manifest's back.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import EncodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto, load_model_from_string

from edgeagent.core.model import Contract, Manifest, WeightFile

MODEL = "yolo"
Rng = random.Random


@dataclass(frozen=True)
class Sample:
    """A sound version. files: path → content, the source first; formats: of each."""

    files: Mapping[str, bytes]
    formats: Mapping[str, str]
    contract: Contract


@dataclass(frozen=True)
class Mutation:
    """A damaged one. kind: what was damaged; way: how."""

    kind: str
    way: str
    files: Mapping[str, bytes]
    manifest: bytes


def mutate(rng: Rng, kind: str, samples: Mapping[str, Sample], version: str, marker: str) -> Mutation:
    """One damaged version. kind: a key of `samples`, or "manifest". marker: a file that what it brings would make."""
    if kind == "manifest":
        sample = samples[rng.choice(sorted(samples))]
        way, data = _manifest(rng, manifest_of(sample, version), marker)
        return Mutation(kind, way, sample.files, data)
    sample = samples[kind]
    others = b"".join(other for name in sorted(samples) for other in samples[name].files.values())
    path = rng.choice(list(sample.files))
    way, damaged = _weights(rng, sample.formats[path], sample.files[path], others, marker)
    files = {**sample.files, path: damaged}
    behind = rng.random() < 0.2
    described = sample if behind else replace(sample, files=files)
    return Mutation(kind, f"{way}, unsaid" if behind else way, files, manifest_of(described, version))


def manifest_of(sample: Sample, version: str) -> bytes:
    """The manifest that fits."""
    files = tuple(
        WeightFile(path, hashlib.sha256(data).hexdigest(), len(data), sample.formats[path])
        for path, data in sample.files.items()
    )
    return Manifest(MODEL, version, 1, "2026-01-01T00:00:00Z", sample.contract, files).to_json()


# -- any file -----------------------------------------------------------------------------------------


def _flip(rng: Rng, data: bytes, others: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 64))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _flip_early(rng: Rng, data: bytes, others: bytes) -> bytes:
    return _flip(rng, data[:4096], others) + data[4096:]


def _truncate(rng: Rng, data: bytes, _: bytes) -> bytes:
    return data[: rng.randrange(1, len(data))]


def _splice(rng: Rng, data: bytes, others: bytes) -> bytes:
    length = rng.choice((16, 4096, 1 << 18))
    at, source = rng.randrange(len(data)), rng.randrange(len(others))
    return data[:at] + others[source : source + length] + data[at + rng.choice((0, length)) :]


def _zero(rng: Rng, data: bytes, _: bytes) -> bytes:
    at, length = rng.randrange(len(data)), rng.choice((8, 512, 1 << 16))
    return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]


def _other(rng: Rng, data: bytes, others: bytes) -> bytes:
    return rng.choice((b"\n", b"<html>log in</html>", gzip.compress(data[:4096]), others[: len(data)]))


_ANY: tuple[tuple[str, Callable[[Rng, bytes, bytes], bytes]], ...] = (
    ("bits flipped", _flip),
    ("first bits flipped", _flip_early),
    ("cut off", _truncate),
    ("spliced", _splice),
    ("zeroed", _zero),
    ("something else", _other),
)


def _weights(rng: Rng, fmt: str, data: bytes, others: bytes, marker: str) -> tuple[str, bytes]:
    special = _SPECIAL.get(fmt, ())
    if special and rng.random() < 0.6:
        name, change = rng.choice(special)
        return name, change(rng, data, marker)
    way, damage = rng.choice(_ANY)
    return way, damage(rng, data, others)


# -- checkpoints --------------------------------------------------------------------------------------

_HOSTILE_NAMES = (
    "posix\nsystem", "os\nsystem", "builtins\neval", "builtins\nexec", "__builtin__\ngetattr", "subprocess\nPopen",
    "builtins\n__import__", "importlib\nimport_module", "shutil\nrmtree", "pathlib\nPosixPath", "builtins\nopen",
    "torch.serialization\nload", "torch\nload", "torch.hub\nload", "torch.jit\nload", "numpy\nload",
    "ultralytics.utils.loss\nv8DetectionLoss", "ultralytics.nn.tasks\nDetectionModel",
    "ultralytics.nn.tasks\nparse_model",
    "ultralytics.nn.modules.block\nC99", "collections\ndefaultdict", "functools\npartial", "operator\nattrgetter",
)  # fmt: skip


def _repack(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The archive with another pickle in it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(packed, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            target.writestr(
                entry.filename, change(content) if entry.filename.endswith("data.pkl") else content
            )
    return packed.getvalue()


def _pickle_bits(rng: Rng, data: bytes, marker: str) -> bytes:
    return _repack(data, lambda pickled: _flip(rng, pickled, b""))


def _pickle_names(rng: Rng, data: bytes, marker: str) -> bytes:
    def change(pickled: bytes) -> bytes:
        names = list(re.finditer(rb"c([\w.]+\n\w+)\n", pickled))
        at = rng.choice(names)
        return pickled[: at.start(1)] + rng.choice(_HOSTILE_NAMES).encode() + pickled[at.end(1) :]

    return _repack(data, change)


def _pickle_calls(rng: Rng, data: bytes, marker: str) -> bytes:
    """A call before the end, or in the place of a value: (name)(text), left on the stack or set among the values."""
    name = rng.choice(_HOSTILE_NAMES).encode()
    text = rng.choice(
        (f"touch {marker}", f"__import__('pathlib').Path({marker!r}).touch()", marker, "forward")
    ).encode()
    call = b"c" + name + b"\nX" + len(text).to_bytes(4, "little") + text + b"\x85R"
    return _repack(
        data,
        lambda pickled: rng.choice((pickled[:-1] + call + b".", pickled.replace(b"N", call, 1), call + b".")),
    )


def _pickle_state(rng: Rng, data: bytes, marker: str) -> bytes:
    """Another text in the place of one: names of attributes, layers and values."""
    words = ("forward", "__class__", "_modules", "training", "__setstate__", "x" * 100_000, "criterion")

    def change(pickled: bytes) -> bytes:
        texts = list(re.finditer(rb"X(.)\x00\x00\x00", pickled, re.DOTALL))
        at = rng.choice(texts)
        word = rng.choice(words).encode()
        return (
            pickled[: at.start()]
            + b"X"
            + len(word).to_bytes(4, "little")
            + word
            + pickled[at.end() + at[1][0] :]
        )

    return _repack(data, change)


# -- ONNX ---------------------------------------------------------------------------------------------

_HOSTILE_TEXTS = (
    "", "None", "[]", "{}", "nan", "-1", "0", "1e999", "[1, 2", "32.0", "True", "9" * 5000, "(" * 500,
    "../../../etc/passwd",
    "{0: None}", "{0: False, 1: True, 2: 3}", "{'a': 'b'}", "[640, -640]", "[1000000, 1000000]", "x" * 200_000,
    "__import__('os').system('touch MARKER')", "\x00", "detect\ninjected: line",
)  # fmt: skip
_HOSTILE_NUMBERS = (-(2**63), -1, 0, 1, 7, 2**31, 2**40, 2**63 - 1)


def _hostile_text(rng: Rng, marker: str) -> str:
    return rng.choice(_HOSTILE_TEXTS).replace("MARKER", marker)


def _onnx(change: Callable[[Rng, ModelProto, str], None]) -> Callable[[Rng, bytes, str], bytes]:
    def changed(rng: Rng, data: bytes, marker: str) -> bytes:
        model = load_model_from_string(data)
        change(rng, model, marker)
        try:
            return bytes(model.SerializeToString())
        except EncodeError:
            return data[:-1]

    return changed


def _onnx_metadata(rng: Rng, model: ModelProto, marker: str) -> None:
    entry = rng.choice(model.metadata_props)
    if rng.random() < 0.2:
        model.metadata_props.remove(entry)
    else:
        entry.value = _hostile_text(rng, marker)


def _onnx_shape(rng: Rng, model: ModelProto, marker: str) -> None:
    value = rng.choice([*model.graph.input, *model.graph.output])
    dims = value.type.tensor_type.shape.dim
    if dims and rng.random() < 0.8:
        rng.choice(dims).dim_value = rng.choice(_HOSTILE_NUMBERS)
    else:
        value.type.tensor_type.elem_type = rng.randrange(24)


def _onnx_tensor(rng: Rng, model: ModelProto, marker: str) -> None:
    tensor = rng.choice(model.graph.initializer)
    way = rng.randrange(4)
    if way == 0:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=rng.choice(("/etc/passwd", "../../x", marker)))
    elif way == 1:
        tensor.dims.append(rng.choice(_HOSTILE_NUMBERS))
    elif way == 2:
        tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    else:
        tensor.data_type = rng.randrange(24)


def _onnx_node(rng: Rng, model: ModelProto, marker: str) -> None:
    node = rng.choice(model.graph.node)
    way = rng.randrange(4)
    if way == 0:
        model.graph.node.remove(node)
    elif way == 1:
        node.op_type = rng.choice(
            ("Loop", "If", "Identity", "Nonsense", "Conv", "NonMaxSuppression", "Resize")
        )
    elif way == 2 and node.attribute:
        attribute = rng.choice(node.attribute)
        attribute.i = rng.choice(_HOSTILE_NUMBERS)
        attribute.ints[:] = [rng.choice(_HOSTILE_NUMBERS) for _ in attribute.ints]
    elif node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(model.graph.node).output[0]


# -- OpenVINO -----------------------------------------------------------------------------------------


def _xml_attribute(rng: Rng, data: bytes, marker: str) -> bytes:
    found = rng.choice(list(re.finditer(rb'="([^"]*)"', data)))
    numbers = tuple(str(number) for number in _HOSTILE_NUMBERS)
    value = rng.choice((*numbers, _hostile_text(rng, marker))).translate({ord(c): None for c in '"<&\x00'})
    return data[: found.start(1)] + value.encode() + data[found.end(1) :]


def _xml_dimension(rng: Rng, data: bytes, marker: str) -> bytes:
    found = rng.choice(list(re.finditer(rb"<dim>([^<]*)</dim>", data)))
    return data[: found.start(1)] + str(rng.choice(_HOSTILE_NUMBERS)).encode() + data[found.end(1) :]


def _xml_entities(rng: Rng, data: bytes, marker: str) -> bytes:
    laughs = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
    what = rng.choice((f'<!ENTITY e0 "ha">{laughs}', '<!ENTITY e9 SYSTEM "file:///etc/passwd">'))
    head, _, rest = data.partition(b'<net name="')
    return head + f"<!DOCTYPE net [{what}]>".encode() + b'<net name="&e9;' + rest


def _xml_element(rng: Rng, data: bytes, marker: str) -> bytes:
    found = rng.choice(list(re.finditer(rb"<(layer|edge|port|data)\b.*?>", data)))
    return data[: found.start()] + rng.choice((b"", found[0] * 2, found[0] * 5000)) + data[found.end() :]


# -- manifests ----------------------------------------------------------------------------------------

_HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, 2**53, 2**63, 10**300, 1e308, "", "..", "../../etc/passwd", "/etc/passwd", "C:\\x", "a:b",
    "x" * 200_000, "\x00", "\ud800", [], {}, [[[[]]]], ["a"] * 20_000, {"a": {"b": {}}}, "manifest.json", "pt",
    "onnx", "engine",
)  # fmt: skip


def _manifest(rng: Rng, data: bytes, marker: str) -> tuple[str, bytes]:
    if rng.random() < 0.25:
        way, damage = rng.choice(_ANY)
        return way, damage(rng, data, data * 2)
    doc: Any = json.loads(data)
    holder: Any = doc
    while True:  # down to some value, at any depth
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if not isinstance(holder[key], (dict, list)) or not holder[key] or rng.random() < 0.3:
            break
        holder = holder[key]
    if rng.random() < 0.2:
        del holder[key]
        return "a field left out", json.dumps(doc).encode()
    holder[key] = rng.choice(_HOSTILE_VALUES)
    return "a field of another value", json.dumps(doc).encode()


_SPECIAL: dict[str, tuple[tuple[str, Callable[[Rng, bytes, str], bytes]], ...]] = {
    "pt": (
        ("bits of the pickle flipped", _pickle_bits),
        ("a name in the pickle replaced", _pickle_names),
        ("a call put into the pickle", _pickle_calls),
        ("a text in the pickle replaced", _pickle_state),
    ),
    "onnx": (
        ("metadata replaced", _onnx(_onnx_metadata)),
        ("a shape replaced", _onnx(_onnx_shape)),
        ("a tensor replaced", _onnx(_onnx_tensor)),
        ("a node replaced", _onnx(_onnx_node)),
    ),
    "openvino": (
        ("an attribute replaced", _xml_attribute),
        ("a dimension replaced", _xml_dimension),
        ("entities that unfold", _xml_entities),
        ("an element left out or repeated", _xml_element),
    ),
}
