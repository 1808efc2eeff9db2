# SPDX-License-Identifier: AGPL-3.0-or-later
"""With how many threads torch calculates."""

from __future__ import annotations

import torch


def set_threads(threads: int) -> None:
    """Thread counts of this process; 0 is one."""
    torch.set_num_threads(max(threads, 1))
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)
