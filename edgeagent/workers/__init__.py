# SPDX-License-Identifier: AGPL-3.0-or-later
"""Child processes: host side, entry points, messages, shared-memory ring."""
