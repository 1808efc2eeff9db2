# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the plant hears of a node beside detections: alarms, and what becomes of its models."""
