# SPDX-License-Identifier: AGPL-3.0-or-later
"""TorchScript files, read and judged without torch.

TorchScript is a program: its interpreter can also write files (`torch.save`) and map them (`torch.from_file`). So its
source, which lies in the archive as text, may call nothing but the tensor functions that a detection network consists
of. What was judged is packed anew, and only that is given to torch: two readers of one archive need not agree.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from pathlib import Path

from edgeagent.errors import UnavailableError, WeightsError
from edgeagent.runtimes.metadata import parse_metadata
from edgeagent.runtimes.port import ModelMetadata, WeightFiles

MAX_BYTES = 4 << 30
MAX_SOURCE_BYTES = 64 << 20

_TENSOR_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
    _convolution _shape_as_tensor abs add add_ adaptive_avg_pool2d addmm arange argmax avg_pool2d batch_norm bitwise_and
    bmm cat chunk clamp clamp_ clone contiguous conv2d conv_transpose2d copy_ detach device div div_ dropout einsum
    empty eq exp expand expand_as flatten floor floor_divide full full_like gather ge gelu gt hardsigmoid hardswish
    hardswish_ index index_select layer_norm le leaky_relu leaky_relu_ linear log logical_and logical_not logical_or lt
    masked_select matmul max max_pool2d maximum mean meshgrid min minimum mul mul_ narrow ne neg new_empty new_full
    new_ones new_zeros nonzero nonzero_numpy numel ones ones_like pad permute pixel_shuffle pow relu relu_ remainder
    repeat repeat_interleave reshape rsub scaled_dot_product_attention select sigmoid sigmoid_ silu silu_ size slice
    softmax sort split split_with_sizes sqrt squeeze stack sub sub_ sum tanh to topk transpose tril triu type_as unbind
    unfold unsqueeze upsample_bilinear2d upsample_nearest2d view view_as where zeros zeros_like
        """,
    )
)
_OPERATORS = frozenset(("prim.NumToTensor", "torchvision.nms"))
_NAMES = frozenset(("annotate", "bool", "float", "getattr", "int", "len", "uninitialized", "unchecked_cast"))
_METHOD = re.compile(r"forward\d*\Z")
# Strings are names of layers and devices. Without comments, escapes and other strings there is one way to read it.
_PLAIN_SOURCE = re.compile(r"""(?:[^"'#\\\x00-\x08\x0b-\x1f\x7f-\U0010ffff]|"[\w.:]*")*\Z""", re.ASCII)
_KEPT = re.compile(r"(version|byteorder|(data|constants)(\.pkl|/\d+)|code/[\w/.]+\.py)\Z", re.ASCII)
_CONFIG = "extra/config.txt"


def read_metadata(weights: WeightFiles) -> ModelMetadata:
    """Raises WeightsError and UnavailableError, as `read_script` does."""
    return read_script(weights.path)[1]


def read_script(path: Path) -> tuple[bytes, ModelMetadata]:
    """The archive as torch may load it, and the metadata that ultralytics wrote into it.

    Raises WeightsError (no TorchScript, unsafe, without ultralytics' metadata), UnavailableError (disk).
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(f"weights {path}", f"are more than {MAX_BYTES} bytes")
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, path)
            content = {name: archive.read(info) for name, info in entries.items()}
    except OSError as e:
        raise UnavailableError(f"weights {path}", str(e)) from e
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as e:
        raise WeightsError(f"weights {path}", f"are no TorchScript archive ({e})", "export them anew") from e
    if "version" not in content or "data.pkl" not in content:
        raise WeightsError(f"weights {path}", "are no TorchScript archive", "export them anew")
    metadata = _metadata(content.pop(_CONFIG, None), path)
    for name, source in content.items():
        if name.startswith("code/"):
            _judge(name, source, path)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in content.items():
            archive.writestr(f"network/{name}", data)
    return packed.getvalue(), metadata


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """What is kept, by its name without the archive's own."""
    kept: dict[str, zipfile.ZipInfo] = {}
    room = MAX_BYTES
    for info in archive.infolist():
        name = info.filename.partition("/")[2]
        if name != _CONFIG and not _KEPT.match(name):
            continue
        room -= info.file_size
        if name in kept or room < 0 or (name.startswith("code/") and info.file_size > MAX_SOURCE_BYTES):
            raise WeightsError(
                f"weights {path}", f"entry {name} is there twice, or too large", "export them anew"
            )
        kept[name] = info
    return kept


def _metadata(config: bytes | None, path: Path) -> ModelMetadata:
    if config is None:
        raise WeightsError(
            f"weights {path}", "do not say what they detect (no config.txt)", "export them with ultralytics"
        )
    try:
        read: object = json.loads(config)
    except (ValueError, RecursionError) as e:
        raise WeightsError(f"weights {path}", "their config.txt is not JSON", "export them anew") from e
    if not isinstance(read, dict):
        raise WeightsError(f"weights {path}", "their config.txt holds no entries", "export them anew")
    names = read.get("names")
    if isinstance(names, dict) and all(str(key).isdecimal() for key in names):
        read["names"] = {int(key): name for key, name in names.items()}  # JSON has only texts as keys
    meta = {key: value if isinstance(value, str) else repr(value) for key, value in read.items()}
    return parse_metadata(meta, (), (), "torchscript")


def _judge(name: str, source: bytes, path: Path) -> None:
    """Raise WeightsError when the source does anything but calculate with tensors."""

    def refuse(why: str) -> WeightsError:
        return WeightsError(
            f"weights {path}",
            f"refused as unsafe: {name} {why}",
            "publish the .onnx or .pt of a detection network",
        )

    try:
        text = source.decode("ascii")
        if not _PLAIN_SOURCE.match(text):
            raise refuse("holds more than plain source")
        tree = ast.parse(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as e:
        raise refuse(f"is no source of TorchScript ({type(e).__name__})") from e
    expected: set[int] = set()  # nodes that are part of a call that was judged
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Lambda | ast.Global | ast.Nonlocal):
            raise refuse(f"has a statement {type(node).__name__}")
        if isinstance(node, ast.Call):
            if not _harmless(node.func):
                raise refuse(f"calls {ast.unparse(node.func)[:80]}")
            if _root(node.func):
                expected.update(id(part) for part in ast.walk(node.func))
    for node in ast.walk(tree):
        # A function that is not called where it is named could be called under another name.
        if isinstance(node, ast.Name) and node.id in ("torch", "ops") and id(node) not in expected:
            raise refuse(f"names {node.id} without a call")


def _harmless(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in _NAMES
    if not isinstance(function, ast.Attribute):
        return False
    match _root(function), ast.unparse(function).partition(".")[2]:
        case "torch", name:
            return name in _TENSOR_FUNCTIONS
        case "ops", name:
            return name in _OPERATORS
    return _METHOD.match(function.attr) is not None


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
