# SPDX-License-Identifier: AGPL-3.0-or-later
"""Measurements: figures side by side, in one run. Not timed tests."""
