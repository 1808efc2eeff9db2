# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where intent comes from: two ports (port.py), a registry of adapters (url.py), and what follows them (watcher.py)."""

import os

# gRPC's core would write each handshake that fails on stderr, past the log; it reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
