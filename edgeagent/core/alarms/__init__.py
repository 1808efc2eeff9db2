# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alarms: what one is, when a rule raises and clears it, and who has taken notice. Pure."""

from edgeagent.core.alarms.alarm import SEVERITIES, Alarm, AlarmState, Condition, Key, Severity

__all__ = ["SEVERITIES", "Alarm", "AlarmState", "Condition", "Key", "Severity"]
