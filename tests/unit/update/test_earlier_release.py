# SPDX-License-Identifier: AGPL-3.0-or-later
"""A state folder that the release before wrote is taken over.

`earlier_release` holds what such a node left: v1 and v2 became stable, v3 was refused at a gate, and a roll-back holds
v1. Only the place of the model store was changed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import TypeAdapter

from edgeagent.core.directive import Directive
from edgeagent.core.events import IntentChanged, PrepareCandidate, Swap
from edgeagent.core.goal import goal
from edgeagent.core.lifecycle import Stage
from edgeagent.core.state import PrepareMode, State, VersionRef
from edgeagent.observe.audit import AuditLog, AuditRecord
from edgeagent.update.state_file import load_state, save_state
from tests.support.playbook import PROVEN, Playbook

WRITTEN = Path(__file__).parent / "earlier_release"
V1 = VersionRef("v1", "sha256:9f0f34f6264e16f7aaaca07b9fe0807bb26c5e3cb573b2130a32edc4fea97670")
KEY = "/models/yolo/current@1795884508293701396-2163024-60-c0252085"


def state() -> State:
    """As it is read from the folder."""
    return load_state(WRITTEN / "models", "yolo")


def test_what_it_knew_is_known() -> None:
    """Epoch, intent, hold, the good version, and what was refused under which intent."""
    s = state()
    assert (s.epoch, s.stable_versions) == (3, (V1,))
    assert s.directive == Directive("v3", KEY, "Kim", "größer")
    assert s.override is not None
    assert (s.override.kind, s.override.goal.digest) == ("rollback", V1.digest)
    assert s.override.goal.directive == Directive("v1", "rollback@2", "Robin from 127.0.0.1", "roll-back")
    (rejection,) = s.rejections
    assert (rejection.version, rejection.intent_id, rejection.stage) == ("v3", KEY, Stage.GATING)


def test_it_is_written_as_it_was(tmp_path: Path) -> None:
    """So that one can go back to the release before, too."""
    save_state(tmp_path, state())
    assert json.loads((tmp_path / "yolo.json").read_text()) == json.loads(
        (WRITTEN / "models" / "yolo.json").read_text()
    )


def test_it_boots_with_what_served_and_keeps_the_hold() -> None:
    """v1 serves again, in the next epoch; the key, read again, changes nothing."""
    node = Playbook(state())
    (begin,) = node.restarts()
    assert isinstance(begin, PrepareCandidate)
    assert (begin.goal.version, begin.goal.digest, begin.mode) == ("v1", V1.digest, PrepareMode.BOOT)
    assert node.reaches(*PROVEN, Stage.READY, digest=V1.digest) == [Swap(V1, epoch=4)]
    assert node.rereads() == []
    wanted = goal(node.state)
    assert wanted is not None
    assert (wanted.version, wanted.intent_id) == ("v1", "rollback@2")
    assert isinstance(node.on(IntentChanged(Directive("v3", "key@2")))[0], PrepareCandidate)


def test_its_history_is_read(tmp_path: Path) -> None:
    """And goes on in the same file."""
    shutil.copy(WRITTEN / "audit.jsonl", tmp_path)
    log = AuditLog(tmp_path)
    records = [TypeAdapter(AuditRecord).validate_json(text) for text in log.tail(10)]
    assert [(r.event, r.result, r.to_version) for r in records] == [
        ("update", "swapped", "v1"),
        ("update", "swapped", "v2"),
        ("probation", "stable", "v2"),
        ("update", "rejected", "v3"),
        ("rollback", "swapped", "v1"),
    ]
    assert records[0].stages["gating"] == 0.7351
    assert records[3].why.startswith("gate contract: class names")
    log.append(records[-1])
    assert len(log.tail(10)) == len(records) + 1
