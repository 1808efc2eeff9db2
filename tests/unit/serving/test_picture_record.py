# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is remembered of the pictures of a folder: as little as a message holds, and enough to lose none."""

from __future__ import annotations

from edgeagent.serving.picture_record import PictureRecord
from edgeagent.workers.messages import MAX_MESSAGE_BYTES, encode
from edgeagent.workers.tasks.capture import CaptureSource, PictureBegun, TakenPictures

SECOND = 10**9
LARGE = -(2**60)  # a content as long as they come


def record(*pictures: tuple[int, int]) -> PictureRecord:
    """Of pictures that are done: time of change, content."""
    record = PictureRecord()
    for picture in pictures:
        record.begin(PictureBegun(*picture))
        record.done()
    return record


def size(taken: TakenPictures) -> int:
    """Of the task that tells it, in bytes."""
    return len(encode(CaptureSource("/u" * 4000, None, False, False, 5.0, 2.0, 0, taken=taken)))


def test_what_is_done_is_known_by_content() -> None:
    """Also of many that were changed in the same moment; and what is begun isn't done."""
    pictures = record((7, 1), (7, 2))
    pictures.begin(PictureBegun(7, 3))
    assert pictures.reading
    pictures.begin_anew()
    assert pictures.taken() == TakenPictures(0, (1, 2))


def test_what_is_long_done_is_known_by_its_time() -> None:
    """What was changed a minute before may still come; two minutes are enough."""
    pictures = record(*[(n * 60 * SECOND, n) for n in range(10)])
    assert pictures.taken() == TakenPictures(7 * 60 * SECOND, (7, 8, 9))


def test_more_than_a_message_holds_is_cut_by_time() -> None:
    """A hundred thousand pictures, moved there at once: all are told, but for those of one moment at the cut."""
    pictures = record(*[(n // 10, LARGE - n) for n in range(100_000)])
    taken = pictures.taken()
    assert size(taken) < MAX_MESSAGE_BYTES
    told = {LARGE - content for content in taken.contents}
    assert told == set(range(100_000 - len(told), 100_000))
    assert min(told) // 10 == taken.since


def test_even_pictures_of_one_moment_fit() -> None:
    """A file system that counts in seconds: some are looked at twice then, and none is lost."""
    taken = record(*[(9, LARGE - n) for n in range(20_000)]).taken()
    assert taken.since == 9
    assert size(taken) < MAX_MESSAGE_BYTES
