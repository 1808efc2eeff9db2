# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a frame to boxes, whatever runs the network: letterbox, layouts of the output, NMS."""
