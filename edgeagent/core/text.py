# SPDX-License-Identifier: AGPL-3.0-or-later
"""Texts that come from outside: cut, and without the secrets in them, once, where they come in.

A text may come from anyone, and `re` stops the whole process while it searches. So the cost must grow as the length
does: no part of a pattern may give back what it took (`*+`, `++`), and none can begin within another's stretch.
"""

from __future__ import annotations

import re
from typing import Annotated

MAX_TEXT = 2000
"""Characters of what somebody says, such as the reason of a refusal."""
MAX_BY = 1000
"""Characters of who asks for something, and of why."""
FREE = "free text"
FreeText = Annotated[str, FREE]
"""What a worker says in words: `util.codec` gives it through `clean`. Names, digests and paths are plain `str`."""

_NAMES = "token|secret|sig|pas|pwd|credential|key|auth"
_SECRETS = (
    (("://",), re.compile(r"://(?<=\w://)[^/\s\"'@]*+@(?:[^/?\s\"'@]*+@)*+"), "://***@"),
    (
        ("?", "&"),
        re.compile(rf"(?i)([?&](?:(?!{_NAMES})[\w.-])*+(?:{_NAMES})[\w.-]*+=)(?:\\.|[^&\s\"'\\])++"),
        r"\1***",
    ),
    (  # as cameras have it that were built on XMEye: /user=admin_password=PASSWORD_channel=1_stream=0.sdp
        ("pass", "pwd"),
        re.compile(
            r"(?i)([/_;](?:password|passwd|pass|pwd)=)(?:(?!_(?:channel|stream|user)=)(?:\\.|[^&\s\"'\\]))++"
        ),
        r"\1***",
    ),
    (("bearer ",), re.compile(r"(?i)(\bbearer )[\w.~+/=-]++"), r"\1***"),
)
"""Of each kind of secret: what a text (in lower case) must have for it, how it is found, and what is put there."""


def redact(text: str) -> str:
    """`text` without the user and password of URLs, secrets in their query or path, and bearer tokens.

    JSON stays JSON: an escaped character, such as a quote, goes as a whole or stays.
    """
    lower = text.lower()
    for signs, pattern, replacement in _SECRETS:
        if any(sign in lower for sign in signs):
            text = pattern.sub(replacement, text)
    return text


def cut(text: str, most: int = MAX_TEXT) -> str:
    """`text`, or its beginning and an ellipsis: `most` characters at most."""
    return text if len(text) <= most else text[: most - 1] + "…"


def clean(text: str, most: int = MAX_TEXT) -> str:
    """`text` without secrets, cut. What it costs is bounded, however long the text."""
    # A secret must not lose the end by which it is known: of what is looked at, only the beginning is kept.
    return cut(redact(text[: 4 * most]), most)
