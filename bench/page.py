# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tables into a page: each between a line that names it and one that ends it."""

from __future__ import annotations

import re
from pathlib import Path


def put(page: Path, name: str, text: str, of: str = "faults") -> None:
    """Replace what stands between `<!-- of: name -->` and `<!-- end -->`. Raises LookupError, OSError."""
    before = page.read_text("utf-8")
    block = re.compile(rf"(<!-- {re.escape(of)}: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    after, count = block.subn(lambda found: f"{found[1]}{text.strip()}\n{found[2]}", before)
    if count != 1:
        raise LookupError(f"{page} has {count} places for {of}: {name}")
    page.write_text(after, "utf-8")
