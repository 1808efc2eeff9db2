# SPDX-License-Identifier: AGPL-3.0-or-later
"""Texts without the secrets in them. A module of its own, for workers need it, and no logging.

A text may come from anyone, and `re` stops the whole process while it searches. So the cost must grow as the length
does: no part of a pattern may give back what it took (`*+`, `++`), and none can begin within another's stretch.
"""

from __future__ import annotations

import re

_NAMES = "token|secret|signature|password|credential|key"
_SECRETS = (
    (("://",), re.compile(r"://(?<=\w://)[^/\s\"'@]*+@"), "://***@"),
    (
        ("?", "&"),
        re.compile(rf"(?i)([?&](?:(?!{_NAMES})[\w.-])*+(?:{_NAMES})[\w.-]*+=)(?:\\.|[^&\s\"'\\])++"),
        r"\1***",
    ),
    (("bearer ",), re.compile(r"(?i)(\bbearer )[\w.~+/=-]++"), r"\1***"),
)
"""Of each kind of secret: what a text (in lower case) must have for it, how it is found, and what is put there."""


def redact(text: str) -> str:
    """`text` without the user and password of URLs, signed query values and bearer tokens.

    JSON stays JSON: an escaped character, such as a quote, goes as a whole or stays.
    """
    lower = text.lower()
    for signs, pattern, replacement in _SECRETS:
        if any(sign in lower for sign in signs):
            text = pattern.sub(replacement, text)
    return text
