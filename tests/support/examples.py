# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many examples Hypothesis tries where each costs something: some in `make test`, many in `make soak`."""

from __future__ import annotations

import os

DEPTH = "EDGEAGENT_TEST_DEPTH"


def examples(usual: int) -> int:
    """So many, times the depth that the environment asks for."""
    return usual * int(os.environ.get(DEPTH, "1"))
