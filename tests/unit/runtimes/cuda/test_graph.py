# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands around a network on a GPU, with the processor in the GPU's place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from edgeagent.errors import WeightsError, WorkerError
from edgeagent.runtimes.cuda import graph
from edgeagent.runtimes.cuda.graph import CudaNetwork

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Streams, graphs and pinned memory that do without CUDA; a replay does nothing."""
    fake = MagicMock()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: MagicMock())
    for name in ("device", "stream"):
        monkeypatch.setattr(torch.cuda, name, lambda _: nullcontext())
    for name in ("CUDAGraph", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: nullcontext())
    for name in ("zeros", "empty"):
        create = getattr(torch, name)
        monkeypatch.setattr(
            graph.torch, name, lambda *a, _create=create, pin_memory=False, **k: _create(*a, **k)
        )
    return fake


def batch(pictures: int, value: float = 1.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """So many pictures of one value."""
    return np.full((pictures, 3, 2, 2), value, np.float32)


def test_a_graph_for_each_size_of_batch(cuda: Any) -> None:
    """Captured in the first run of a size, replayed in each."""
    forward = MagicMock(side_effect=lambda t: t * 2)
    network = CudaNetwork(forward, CPU)
    for pictures in (1, 2, 1, 2):
        network.run(batch(pictures))
    assert cuda.CUDAGraph.call_count == 2
    assert cuda.CUDAGraph.return_value.replay.call_count == 4
    assert forward.call_count == 2 * (graph._WARM_ROUNDS + 1)


@pytest.mark.parametrize("error", [RuntimeError("not permitted"), WeightsError("weights", "not permitted")])
def test_what_no_graph_can_hold_runs_without(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slower, and says so once."""

    @contextmanager
    def failing(*_: Any, **__: Any) -> Iterator[None]:
        yield
        raise error

    monkeypatch.setattr(torch.cuda, "graph", failing)
    network = CudaNetwork(lambda t: t * 2, CPU)
    for value in (3, 4):
        for pictures in (1, 2):
            np.testing.assert_array_equal(network.run(batch(pictures, value)), 2 * batch(pictures, value))
    assert capsys.readouterr().err.count("without a CUDA graph") == 1


def test_whose_fault_it_is(cuda: Any) -> None:
    """A full or lost GPU ends the process, so that another one begins anew; the rest is the network's."""

    def failing(error: Exception) -> CudaNetwork:
        return CudaNetwork(MagicMock(side_effect=error), CPU)

    with pytest.raises(WorkerError, match="GPU cpu: CUDA out of memory; see"):
        failing(torch.OutOfMemoryError("CUDA out of memory\nadvice")).run(batch(1))
    with pytest.raises(RuntimeError, match="shapes differ"):
        failing(RuntimeError("shapes differ")).run(batch(1))
    cuda.synchronize.side_effect = RuntimeError("unspecified launch failure")
    with pytest.raises(WorkerError, match="GPU cpu: unspecified launch failure"):
        failing(RuntimeError("unspecified launch failure")).run(batch(1))
