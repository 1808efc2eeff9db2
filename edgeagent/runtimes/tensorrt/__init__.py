# SPDX-License-Identifier: AGPL-3.0-or-later
"""TensorRT: its runtime, and building an engine."""
