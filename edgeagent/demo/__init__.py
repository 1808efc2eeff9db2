# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo: a rendered packaging line with known ground truth, and two small YOLO models trained on it."""
