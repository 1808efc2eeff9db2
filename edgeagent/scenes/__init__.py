# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rendered lines whose ground truth is known frame by frame: something to film where there is no camera."""
