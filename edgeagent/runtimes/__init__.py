# SPDX-License-Identifier: AGPL-3.0-or-later
"""Inference: one runtime a file; letterbox, decode and NMS shared by all."""
