# SPDX-License-Identifier: AGPL-3.0-or-later
"""Labelled pictures in the YOLO layout, as they lie on a disk or came with a version."""
