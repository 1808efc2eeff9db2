# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a runtime works on this machine. It is imported for real, so this belongs in a process of its own:
`python -m edgeagent.runtimes.probe NAME` prints the devices that it can calculate on, as a line of JSON.
"""

from __future__ import annotations

import json
import sys

from edgeagent.runtimes.registry import load_object, runtime


def main(name: str) -> None:
    """Import the runtime and ask it. Raises whatever it raises."""
    row = runtime(name)
    if row is None:
        raise SystemExit(f"there is no runtime {name!r}")
    load_object(row.runtime)
    print(json.dumps(load_object(row.devices)()))  # noqa: T201  (the answer)


if __name__ == "__main__":
    main(sys.argv[1])
