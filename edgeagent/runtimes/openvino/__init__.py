# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenVINO: its runtime, its file format, what it has compiled."""
