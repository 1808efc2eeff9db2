# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fleets and roll-outs as values, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.leader import Leader, encode_leader
from edgeagent.core.rollout import Limits, Plan, Rollout, Status
from edgeagent.core.rollout_view import Fleet, Member

LED = encode_leader(Leader("5eadbeef", "press-07", 12, 1.0))
"""The value of the coordinator's key."""
ID = "20261129-101500-ab12"


def a_rollout(status: Status = Status.PLANNED, **plan: Any) -> Rollout:
    """From v1 to v2, of the revision 7 of `current`. The first wave is open unless it is only planned."""
    wave = -1 if status is Status.PLANNED else 0
    return Rollout(ID, replace(Plan("v2", "v1", "7", "salt"), **plan), Limits(), status, wave)


def a_fleet(reports: Mapping[str, Report], away: tuple[str, ...] = (), revision: str = "7") -> Fleet:
    """The nodes with these reports; those that are away are not there."""
    return Fleet({n: Member(n not in away, report) for n, report in reports.items()}, revision)


def took(phase: Phase = Phase.STABLE, **said: Any) -> Report:
    """Of a node that is in the roll-out of `a_rollout`."""
    version = "v2" if phase in (Phase.STABLE, Phase.SWAPPED) else "v1"
    return Report(version=version, state="STABLE", rollout=ID, phase=phase, **said)
