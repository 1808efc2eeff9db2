# SPDX-License-Identifier: AGPL-3.0-or-later
"""Helpers that several tests share."""
