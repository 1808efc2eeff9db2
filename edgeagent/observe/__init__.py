# SPDX-License-Identifier: AGPL-3.0-or-later
"""Metrics, audit log, logging, systemd."""
