# SPDX-License-Identifier: AGPL-3.0-or-later
"""In which order the keys are read that ZooKeeper can't give at one instant."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from edgeagent.intent.port import Access
from edgeagent.intent.zookeeper_session import Session, SessionSettings


class PaperSession(Session):
    """Its server answers at once, and something is written after each key that was read."""

    def __init__(self) -> None:
        super().__init__(SessionSettings(("h:1",), "", Access()))
        self.writings = 0

    def client(self) -> Any:
        return SimpleNamespace(
            handler=SimpleNamespace(failure=None),
            sync_async=lambda path: None,
            exists_async=lambda path, watch: path,
            get_async=self._get,
        )

    def answer(self, asked: Any) -> Any:
        return asked

    def _get(self, path: str) -> Any:
        self.writings += 1
        return path.encode(), SimpleNamespace(mzxid=self.writings, czxid=1)


def test_no_key_is_told_as_it_was_before_what_is_told_after_it() -> None:
    """When a roll-out is done, `current` becomes its version and the document goes, in one transaction. Who saw the
    document gone, and `current` as it was, would swap back."""
    entries = PaperSession().read(["/current", "/rollout", "/leader"])
    assert [(e.key, e.value) for e in entries] == [
        ("/current", b"/current"),
        ("/rollout", b"/rollout"),
        ("/leader", b"/leader"),
    ]
    revisions = [int(e.revision) for e in entries]
    assert revisions == sorted(revisions, reverse=True)
