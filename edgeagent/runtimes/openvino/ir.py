# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenVINO's own format: `model.xml` and `model.bin`, with ultralytics' `metadata.yaml` beside them.

A version in a store names each by its format: `openvino`, `openvino-bin`, `metadata`.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from edgeagent.errors import NotFoundError, UnavailableError, WeightsError
from edgeagent.runtimes.metadata import parse_metadata
from edgeagent.runtimes.port import Companions, ModelMetadata, WeightFiles

BIN = "openvino-bin"
METADATA = "metadata"
MAX_TEXT_BYTES = 64 << 20  # of the graph; one of YOLO has less than one MB


def read_metadata(weights: WeightFiles) -> ModelMetadata:
    """Raises WeightsError (no graph of a detection network), NotFoundError (no `.bin`), UnavailableError (disk)."""
    return ir_metadata(weights.path, read_graph(weights.path), companions_of(weights))


def companions_of(weights: WeightFiles) -> Companions:
    """The files that belong to the graph: those that were named, else those that lie beside it."""
    return companions_beside(weights.path) if weights.companions is None else weights.companions


def companions_beside(path: Path) -> dict[str, Path]:
    """The files that belong to the graph `path`, as exporters lay them down; those that are there."""
    around = {BIN: path.with_suffix(".bin"), METADATA: path.with_name("metadata.yaml")}
    return {fmt: file for fmt, file in around.items() if file.is_file()}


def read_graph(path: Path) -> bytes:
    """The text of the `.xml`. Raises UnavailableError, WeightsError (too large)."""
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise WeightsError(f"weights {path}", f"{size} bytes are too many for a graph without weights")
        return path.read_bytes()
    except OSError as e:
        raise UnavailableError(f"weights {path}", str(e)) from e


def ir_metadata(path: Path, graph: bytes, companions: Companions) -> ModelMetadata:
    """What the graph says of itself: from what a conversion of ONNX keeps in it, else from ultralytics' metadata file.

    Needs no OpenVINO. Raises WeightsError, NotFoundError (no `.bin`).
    """
    if BIN not in companions:
        raise NotFoundError(f"weights {path}", "the .bin file is missing", "put model.bin beside model.xml")
    try:
        # The XML parser under it refuses entities that unfold.
        net = ElementTree.fromstring(graph)
    except ElementTree.ParseError as e:
        raise WeightsError(f"weights {path}", f"are not an OpenVINO graph ({e})", "export them anew") from e
    inputs, outputs = (
        [
            _shape(port)
            for layer in net.iter("layer")
            if layer.get("type") == kind
            for port in layer.iter("port")
        ]
        for kind in ("Parameter", "Result")
    )
    if len(inputs) != 1 or not outputs:
        raise WeightsError(f"weights {path}", f"the network has {len(inputs)} inputs, not one picture")
    kept = {item.tag: item.get("value", "") for item in net.iterfind("./rt_info/framework/*")}
    meta = kept if "names" in kept else _metadata(companions.get(METADATA), path)
    return parse_metadata(meta, inputs[0], outputs[0], "openvino")


def _shape(port: ElementTree.Element) -> tuple[int | None, ...]:
    sizes = [(dim.text or "").strip() for dim in port.iterfind("dim")]
    return tuple(int(size) if size.isdecimal() else None for size in sizes)


def _metadata(file: Path | None, path: Path) -> dict[str, str]:
    if file is None:
        raise WeightsError(
            f"weights {path}",
            "do not say what they detect, and no metadata.yaml is beside them",
            "publish the folder as ultralytics exports it",
        )
    import yaml  # slow to import, and most graphs say it themselves

    try:
        read: object = yaml.safe_load(file.read_text("utf-8"))
    except OSError as e:
        raise UnavailableError(f"metadata {file}", str(e)) from e
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as e:
        raise WeightsError(f"metadata {file}", f"can't be read ({type(e).__name__})", "export anew") from e
    if not isinstance(read, dict):
        raise WeightsError(f"metadata {file}", f"holds a {type(read).__name__}, not entries", "export anew")
    return {str(key): value if isinstance(value, str) else repr(value) for key, value in read.items()}
