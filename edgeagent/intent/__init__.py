# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where wishes come from: one port (port.py), one adapter a file."""
