# SPDX-License-Identifier: AGPL-3.0-or-later
"""An ONNX network in float16, but for its last steps: for runtimes that calculate in what the file says."""

from __future__ import annotations

import warnings
from pathlib import Path

from onnx import GraphProto, load_model, save_model
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgeagent.errors import WeightsError


def halve(source: Path, target: Path) -> None:
    """Write `source` in float16, with float32 in and out.

    What follows the last convolutions stays in float32: boxes in pixels need more digits than float16 has.
    Raises WeightsError, OSError.
    """
    model = load_model(source)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of every weight that float16 rounds to nothing
            halved = convert_float_to_float16(
                model, keep_io_types=True, node_block_list=_after_convolutions(model.graph)
            )
    except (ValueError, TypeError, RuntimeError, LookupError) as e:
        why = " ".join(str(e).split())[:300]
        raise WeightsError(f"weights {source}", f"can't be made into float16 ({why})", "use fp32") from e
    save_model(halved, target)


def _after_convolutions(graph: GraphProto) -> list[str]:
    """Names of the nodes from which no convolution with weights of the network is reached any more.

    One with a single filter is the sum that turns a distribution over distances into a distance: a last step.
    """
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    leads_on: set[str] = set()  # values on whose way on there is a convolution
    after = []
    for node in reversed(graph.node):
        convolves = node.op_type in ("Conv", "ConvTranspose", "Gemm") and any(
            len(weights.get(name, ())) > 1 and weights[name][0] > 1 for name in node.input
        )
        if convolves or not leads_on.isdisjoint(node.output):
            leads_on.update(node.input)
        if not convolves and leads_on.isdisjoint(node.output):
            after.append(node.name)
    return after
