# SPDX-License-Identifier: AGPL-3.0-or-later
"""What has moved to `edgeagent.testing`, under its former name."""

from edgeagent.testing import children, wait_for

__all__ = ["children", "wait_for"]
