# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alarms on a node: rules that listen to its results, and the system's own; who has taken notice; what is kept."""
