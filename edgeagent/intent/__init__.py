# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where intent comes from: two ports (port.py), a registry of adapters (url.py), and what follows them (watcher.py)."""
