# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which pictures of a watched folder are done, for the worker that goes on when one has died."""

from __future__ import annotations

from edgeagent.workers.tasks.capture import PictureBegun, TakenPictures

# A picture may be found so much later than one changed after it: it waits for its end, or for a server's cache.
_LATE_NS = 120 * 10**9
# So many fit into a message. With more than that in two minutes, the record begins later.
_MAX_PICTURES = 6000


class PictureRecord:
    """Pictures are begun one by one, and done together when the worker has accounted for them."""

    def __init__(self) -> None:
        self._begun: list[PictureBegun] = []
        self._done: dict[int, int] = {}  # time of change, by content
        self._since = 0

    @property
    def reading(self) -> bool:
        """Whether a picture is begun and not done."""
        return bool(self._begun)

    def begin(self, picture: PictureBegun) -> None:
        """The worker reads it."""
        self._begun.append(picture)

    def done(self) -> None:
        """All that were begun were handed on or counted: they are not to be read again."""
        for picture in self._begun:
            self._done[picture.content] = picture.changed_ns
        self._begun.clear()
        if len(self._done) > 2 * _MAX_PICTURES:
            self._forget()

    def left_out(self) -> None:
        """The one begun last is not to be read again; those before are."""
        self._begun = self._begun[-1:]
        self.done()

    def begin_anew(self) -> None:
        """The worker is gone: the next one reads again what was begun."""
        self._begun.clear()

    def taken(self) -> TakenPictures:
        """For the next worker."""
        if self._done:
            self._forget()
        return TakenPictures(self._since, tuple(self._done))

    def _forget(self) -> None:
        """What a number tells as well: the time before which all was found."""
        latest = sorted(self._done.items(), key=lambda picture: picture[1])[-_MAX_PICTURES:]
        oldest = latest[0][1] if len(latest) < len(self._done) else 0
        self._since = max(self._since, latest[-1][1] - _LATE_NS, oldest)
        self._done = {content: time for content, time in latest if time >= self._since}
