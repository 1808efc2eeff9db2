# SPDX-License-Identifier: AGPL-3.0-or-later
"""Values that name a model release: names, manifest, digest, contract."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeagent.errors import IntegrityError, UsageError

MANIFEST_SCHEMA = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILES = 2048
"""Of a version: its networks, and a golden set of 1,000 pictures with their labels. Earlier releases took 64."""
MAX_CLASSES = 10_000
MAX_NAMES_BYTES = 64 * 1024
"""Of all class names, as JSON in ASCII: with them a message between the node and a worker still fits a datagram."""
MAX_IMGSZ = 8192
MAX_NUMBER = 2**53
"""Of bytes, and in metrics: what every reader of JSON takes exactly."""
MAX_FILE_BYTES = 64 << 30
"""Of one file: far more than any network has, and less than what only a broken manifest says."""
FORMATS = ("onnx", "pt", "openvino", "torchscript")
TASKS = ("detect",)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_KINDS = {int: "a whole number", str: "text", list: "a list", dict: "an object"}


def check_name(kind: str, value: object) -> str:
    """Return `value` if it is safe as a model or version name (and so as a folder name).

    Letters, digits, `.`, `_`, `-`; starts with a letter or digit; at most 128; no `..`.
    Raises UsageError.
    """
    if not isinstance(value, str) or not is_name(value):
        raise UsageError(
            f"{kind} {_shown(value)}",
            "not a valid name",
            "use letters, digits, '.', '_' and '-', at most 128, starting with a letter or digit, without '..'",
        )
    return value


def is_name(value: object) -> bool:
    """Whether `check_name` would take it."""
    return isinstance(value, str) and _NAME.match(value) is not None and ".." not in value


def parse_json(text: str) -> Any:
    """Untrusted JSON. Raises ValueError, also for numbers and text that can't be written as JSON again (NaN, lone
    surrogates); RecursionError."""
    value = json.loads(text)
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    return value


def _shown(value: object) -> str:
    """An untrusted value for an error message: quoted, and short."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@dataclass(frozen=True)
class WeightFile:
    """One file of a version. `path` is relative to the version's folder, in POSIX form; `size` in bytes."""

    path: str
    sha256: str
    size: int
    format: str


@dataclass(frozen=True)
class Contract:
    """What a pipeline relies on: task, class names in order, input size (height, width) and stride, in pixels."""

    task: str
    names: tuple[str, ...]
    imgsz: tuple[int, int]
    stride: int

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Contract:
        """The contract that `dataclasses.asdict` and JSON took apart."""
        height, width = values["imgsz"]
        return cls(values["task"], tuple(values["names"]), (height, width), values["stride"])

    def fitted(self, frames: Collection[tuple[int, int]]) -> tuple[int, int]:
        """The smallest input (height, width) of whole strides that shows frames of these sizes (height, width) as large
        as `imgsz` does: what ultralytics' `LetterBox(auto=True)` pads to. `imgsz` itself without frames."""
        if not frames:
            return self.imgsz
        scaled = []
        for height, width in frames:
            ratio = min(self.imgsz[0] / height, self.imgsz[1] / width)
            scaled.append((round(height * ratio), round(width * ratio)))
        high, wide = (max(max(sides), 1) for sides in zip(*scaled, strict=True))
        return -(-high // self.stride) * self.stride, -(-wide // self.stride) * self.stride


@dataclass(frozen=True)
class Manifest:
    """The parsed `manifest.json` of one immutable version (INTERFACE.md, "Model store")."""

    model: str
    version: str
    sequence: int
    created: str
    contract: Contract
    files: tuple[WeightFile, ...]
    golden: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over what decides how the version behaves: files and contract, not notes or dates."""
        c = self.contract
        content = {
            "task": c.task,
            "names": list(c.names),
            "imgsz": list(c.imgsz),
            "stride": c.stride,
            "files": sorted([f.path, f.sha256, f.size, f.format] for f in self.files),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def weights(self) -> WeightFile:
        """The file that holds the network: the first with a known weight format. A node proves `ready` equal to it."""
        return next(f for f in self.files if f.format in FORMATS)

    @property
    def alternates(self) -> tuple[WeightFile, ...]:
        """The same network in further weight formats, ready to run; one file each, none in the golden set."""
        others = (f for f in self.files if f.format in FORMATS and f.path not in self.golden)
        return tuple(f for f in others if f != self.weights)

    def to_json(self) -> bytes:
        """The manifest as it stands in the store: readable, keys in a fixed order, newline at the end."""
        c = self.contract
        doc = {
            "schema": MANIFEST_SCHEMA,
            "model": self.model,
            "version": self.version,
            "sequence": self.sequence,
            "created": self.created,
            "task": c.task,
            "imgsz": list(c.imgsz),
            "names": list(c.names),
            "stride": c.stride,
            "files": [
                {"path": f.path, "sha256": f.sha256, "size": f.size, "format": f.format} for f in self.files
            ],
            "golden": list(self.golden),
            "metrics": dict(self.metrics),
            "source": dict(self.source),
            "note": self.note,
        }
        return (json.dumps(doc, indent=2, ensure_ascii=False) + "\n").encode()


def parse_manifest(data: bytes, model: str, version: str) -> Manifest:
    """Parse an untrusted manifest that was found at `<model>/<version>/`.

    Raises IntegrityError naming the field; never returns a partly valid manifest. Unknown keys are
    ignored, so that a newer publisher can add some within the same schema.
    """
    where = f"manifest of {model}/{version}"

    def bad(why: str, todo: str = "publish the version again, under a new name") -> IntegrityError:
        return IntegrityError(where, why, todo)

    if len(data) > MAX_MANIFEST_BYTES:
        raise bad(f"is {len(data)} bytes, more than {MAX_MANIFEST_BYTES}")
    if data.startswith(b"\x1f\x8b"):
        raise bad("is compressed (gzip)", "look at the server, or a proxy before it, which must not compress")
    if data.lstrip().startswith(b"<"):
        raise bad("is a web page, not JSON", "look at proxy or login: that page stands before the store")
    try:
        doc = parse_json(data.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise bad(f"is not JSON in UTF-8 ({e})") from e
    if not isinstance(doc, dict):
        raise bad("is not a JSON object")

    def take(key: str, kind: type, default: Any = None) -> Any:
        value = doc.get(key, default)
        if value is None:
            raise bad(f"{key} is missing")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise bad(f"{key} is {_shown(value)}, not {_KINDS[kind]}")
        return value

    if take("schema", int) != MANIFEST_SCHEMA:
        raise bad(f"schema is {_shown(doc['schema'])}, this edgeagent reads {MANIFEST_SCHEMA}")
    if take("model", str) != model or take("version", str) != version:
        raise bad(f"names {_shown(doc['model'])}/{_shown(doc['version'])}")
    sequence = take("sequence", int)
    if not 0 <= sequence <= MAX_NUMBER:
        raise bad(f"sequence is not from 0 to {MAX_NUMBER}")
    contract = _parse_contract(take, bad)
    files = _parse_files(take("files", list), bad)
    if not any(f.format in FORMATS for f in files):
        raise bad(f"files: none has a known weight format ({', '.join(FORMATS)})")
    golden = take("golden", list, [])
    known = {f.path for f in files}
    if any(not isinstance(g, str) or g not in known for g in golden):
        raise bad("golden: names a path that is not in files")
    metrics = take("metrics", dict, {})
    if not all(type(v) in (int, float) and abs(v) <= MAX_NUMBER for v in metrics.values()):
        raise bad(f"metrics: a value is not a number of at most {MAX_NUMBER}")
    source = take("source", dict, {})
    if not all(isinstance(v, str) for v in source.values()):
        raise bad("source: a value is not text")
    manifest = Manifest(
        model=model,
        version=version,
        sequence=sequence,
        created=take("created", str),
        contract=contract,
        files=files,
        golden=tuple(golden),
        metrics={k: float(v) for k, v in metrics.items()},
        source=source,
        note=take("note", str, ""),
    )
    formats = [f.format for f in (manifest.weights, *manifest.alternates)]
    if twice := [fmt for fmt in FORMATS if formats.count(fmt) > 1]:
        raise bad(f"files: more than one has the format {twice[0]}")
    return manifest


def _parse_contract(take: Any, bad: Any) -> Contract:
    task = take("task", str)
    if task not in TASKS:
        raise bad(f"task is {_shown(task)}, this edgeagent serves {', '.join(TASKS)}")
    imgsz = take("imgsz", list)
    if len(imgsz) != 2 or not all(type(n) is int and 32 <= n <= MAX_IMGSZ for n in imgsz):
        raise bad(f"imgsz is not [height, width] with numbers from 32 to {MAX_IMGSZ}")
    names = take("names", list)
    if not 1 <= len(names) <= MAX_CLASSES or not all(isinstance(n, str) and 0 < len(n) <= 200 for n in names):
        raise bad(f"names is not a list of 1 to {MAX_CLASSES} class names")
    if (size := len(json.dumps(names))) > MAX_NAMES_BYTES:
        raise bad(f"names take {size} bytes as JSON in ASCII, more than {MAX_NAMES_BYTES}")
    stride = take("stride", int)
    if not 1 <= stride <= 256:
        raise bad("stride is not from 1 to 256")
    return Contract(task=task, names=tuple(names), imgsz=(imgsz[0], imgsz[1]), stride=stride)


def _parse_files(items: list[Any], bad: Any) -> tuple[WeightFile, ...]:
    if not 1 <= len(items) <= MAX_FILES:
        raise bad(f"files: {len(items)} entries, allowed are 1 to {MAX_FILES}")
    files = []
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            raise bad(f"files[{i}] is not an object")
        path, sha256, size, fmt = (item.get(k) for k in ("path", "sha256", "size", "format"))
        if not isinstance(path, str):
            raise bad(f"files[{i}].path is not text")
        if fault := path_fault(path):
            raise bad(f"files[{i}].path {_shown(path)} {fault}")
        if not isinstance(sha256, str) or not _SHA256.match(sha256):
            raise bad(f"files[{i}].sha256 is not 64 hex digits")
        if type(size) is not int or not 0 < size <= MAX_NUMBER:
            raise bad(f"files[{i}].size is not a positive number of bytes")
        if size > MAX_FILE_BYTES:
            raise bad(f"files[{i}].size is {size} bytes, more than the {MAX_FILE_BYTES} that a file may have")
        if not isinstance(fmt, str) or not fmt or len(fmt) > 32:
            raise bad(f"files[{i}].format is missing")
        files.append(WeightFile(path=path, sha256=sha256, size=size, format=fmt))
    if len({f.path for f in files}) != len(files):
        raise bad("files: a path is listed twice")
    return tuple(files)


def path_fault(path: str) -> str:
    """What is wrong with `path` as the path of a file of a version, as `holds ':'`; "" when nothing is."""
    if len(path) > 512:
        return "has more than 512 characters"
    for sign in "\\:":  # which mean something to other systems, and to URLs
        if sign in path:
            return f"holds {sign!r}"
    if path == "manifest.json":
        return "is the manifest itself"
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "does not stay inside the version's folder"
    return "" if all(part.isprintable() for part in parts) else "holds characters that can't be shown"
