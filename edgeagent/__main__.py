# SPDX-License-Identifier: AGPL-3.0-or-later
"""`python -m edgeagent`: the same as the command `edgeagent`."""

import sys

from edgeagent.cli.main import main

if __name__ == "__main__":  # spawned workers import this module again under another name
    sys.exit(main())
