# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nodes put before and behind a finished ONNX network, so that it looks as before and judges in another way."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

BOXES = 4
"""Rows of the output before the scores: centre x, centre y, width, height, in pixels of the input."""


class GraphSurgery:
    """A network of one picture and one output of the YOLOv8 layout (1×(4+classes)×N), to be changed and saved.

    Input, output and metadata keep their names and shapes: whoever reads the file sees the network that it was.
    """

    def __init__(self, weights: Path) -> None:
        """Raises OSError, and what protobuf raises for what is no ONNX file."""
        import onnx

        self.model: ModelProto = onnx.load_model_from_string(weights.read_bytes())
        graph = self.model.graph
        self.picture, self.output = graph.input[0].name, graph.output[0].name
        self.classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value - BOXES
        self._numbers = 0
        self._nodes: list[NodeProto] = []

    def save(self, target: Path, **notes: str) -> Path:
        """Write it, with `notes` among its metadata; returns `target`. Raises OSError."""
        for key, value in notes.items():
            self.model.metadata_props.add(key=key, value=value)
        target.write_bytes(self.model.SerializeToString())
        return target

    def before(self, build: Callable[[str], str]) -> None:
        """Let the network see what `build` makes of the picture: it gets the name of the one value, and returns the
        other's."""
        graph = self.model.graph
        seen = self._collected(lambda: build(self.picture))
        readers = list(graph.node)
        del graph.node[:]
        graph.node.extend(self._nodes)
        for node in readers:
            for i, name in enumerate(node.input):
                if name == self.picture:
                    node.input[i] = seen
        graph.node.extend(readers)

    def behind(self, build: Callable[[str], str]) -> None:
        """Let the network answer with what `build` makes of its output, likewise. `build` may read the picture too."""
        graph = self.model.graph
        found = self._name()
        for node in graph.node:
            for i, name in enumerate(node.output):
                if name == self.output:
                    node.output[i] = found
        made = self._collected(lambda: build(found))
        graph.node.extend(self._nodes)
        graph.node.append(_node("Identity", [made], [self.output]))

    def copy_of_network(self, picture: str, found: str) -> str:
        """Inside `behind`: all nodes once more, on another picture; the name of their `found`."""
        graph = self.model.graph
        made = {name: self._name() for node in graph.node for name in node.output if name}
        for node in graph.node:
            copied = deepcopy(node)
            copied.name = ""
            for i, name in enumerate(copied.input):
                copied.input[i] = picture if name == self.picture else made.get(name, name)
            for i, name in enumerate(copied.output):
                copied.output[i] = made.get(name, "")
            self._nodes.append(copied)
        return made[found]

    def node(self, op: str, *inputs: str | float | NDArray[Any], **attributes: Any) -> str:
        """One more node; numbers among its inputs become constants. Returns the name of its output."""
        names = [i if isinstance(i, str) else self._constant(i) for i in inputs]
        output = self._name()
        self._nodes.append(_node(op, names, [output], **attributes))
        return output

    def of_scores(self, value: float = 1.0, only: int | None = None) -> NDArray[np.float32]:
        """1×(4+classes)×1: `value` for the scores of all classes, or of one; 0 for the boxes and for other classes."""
        mask = np.zeros((1, BOXES + self.classes, 1), np.float32)
        mask[0, BOXES if only is None else BOXES + only : None if only is None else BOXES + only + 1] = value
        return mask

    def without(self, found: str, unseen: str, only: int | None = None) -> str:
        """An output with scores of 0 where `unseen` is 1: of all classes, or of one."""
        masked = self.node("Mul", unseen, self.of_scores(-1.0, only))
        return self.node("Mul", found, self.node("Add", masked, 1.0))

    def chance(self, share: float) -> str:
        """1 for about `share` (0 to 0.7) of all pictures, 0 for the others, by chance, but always the same for the same
        picture: by the last digits of its mean brightness. Plain pictures have 0. Shape 1×1×1."""
        mean = self.node("ReduceMean", self.picture, axes=[1, 2, 3], keepdims=0)
        digits = self.node("Mod", self.node("Mul", mean, 255.0 * 64), 1.0, fmod=1)
        # Of a plain picture they are 0, or 1 minus a hair.
        hit = self.node("And", self.node("Greater", digits, 0.2), self.node("Less", digits, 0.2 + share))
        return self.node("Reshape", self.node("Cast", hit, to=1), np.array([1, 1, 1], np.int64))

    def _collected(self, build: Callable[[], str]) -> str:
        self._nodes = []
        return build()

    def _constant(self, value: float | NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = self._name()
        array = np.asarray(value, np.float32) if isinstance(value, float | int) else value
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _name(self) -> str:
        self._numbers += 1
        return f"surgery_{self._numbers}"


def _node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> NodeProto:
    from onnx import helper

    return helper.make_node(op, inputs, outputs, **attributes)
