# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the cameras see now, for the gates of a candidate."""

from __future__ import annotations

from edgeagent.serving.frame import Frame
from edgeagent.serving.router import Router
from edgeagent.sinks.port import Record

_FPS = 2.0
_FRAMES = 2


class RecentFrames:
    """The last frame of each pipeline that gave a result, or half a second before: it is there when a candidate is.

    One stays here; another may be with a preparing worker, which reads for as long as it likes.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._kept: dict[str, Frame] = {}
        router.tap.subscribe(self._keep, self._let_go, fps=_FPS, frames=_FRAMES)

    def frames(self) -> list[Frame]:
        """One frame of each pipeline: of one that has had no result yet, the newest that waits, if there is one.

        Whoever goes on using a frame calls its `retain`.
        """
        kept = self._kept
        waiting = {route.name: route.waiting[-1] for route in self._router.routes if route.waiting}
        names = (route.name for route in self._router.routes)
        return [kept.get(name) or waiting[name] for name in names if name in kept or name in waiting]

    def _keep(self, frame: Frame, record: Record) -> None:
        self._let_go(frame.pipeline)
        self._kept[frame.pipeline] = frame

    def _let_go(self, pipeline: str) -> None:
        if pipeline in self._kept:
            self._kept.pop(pipeline).release()
