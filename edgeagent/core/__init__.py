# SPDX-License-Identifier: AGPL-3.0-or-later
"""Values and decisions, pure: no I/O, clock, thread, logging or third-party import."""
