# SPDX-License-Identifier: AGPL-3.0-or-later
"""edgeagent: swap YOLO models under a running vision line, without losing a frame."""

__version__ = "0.1.0"
