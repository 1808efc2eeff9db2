# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which CUDA device to use, as torch names it, or the processor."""

from __future__ import annotations

import torch

from edgeagent.errors import UsageError
from edgeagent.runtimes.variants import split_device


def choose_device(wanted: str) -> torch.device:
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:1` as torch's device. Raises UsageError."""
    kind, index = split_device(wanted)
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    device = torch.device("cuda", index or 0)
    if device.index >= torch.cuda.device_count():
        raise UsageError(f"engine.device {wanted!r}", _why_not(), "use auto or cpu")
    # "fp32" is meant: TensorFloat-32 would keep 10 bits.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # one input size for ever
    return device


def _why_not() -> str:
    """Often the driver is too old for the CUDA that torch was built with; only torch says so."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (AssertionError, RuntimeError) as e:
        return f"torch can't use CUDA ({' '.join(str(e).split())[:200]})"
    return f"torch sees {torch.cuda.device_count()} CUDA devices"


def available_devices() -> list[str]:
    """Where torch can calculate on this machine: `cpu`, and each CUDA device that it sees."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ["cpu", *(f"cuda:{i}" for i in range(count))]
