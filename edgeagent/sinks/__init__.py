# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where detections go: one port, one adapter a file."""
