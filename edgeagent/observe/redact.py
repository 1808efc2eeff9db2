# SPDX-License-Identifier: AGPL-3.0-or-later
"""Texts without the secrets in them. A module of its own, for workers need it, and no logging.

A text may come from anyone, and `re` stops the whole process while it searches. So the cost must grow as the length
does: no part of a pattern may give back what it took (`*+`, `++`), and none can begin within another's stretch. Each
begins with a character of its own, which is found fast in a text that has none: what was before it is looked at then.
"""

from __future__ import annotations

import re

_NAMES = "token|secret|signature|password|credential|key"
_SECRETS = (
    (re.compile(r"://(?<=\w://)[^/\s\"'@]*+@"), "://***@"),
    (
        re.compile(rf"(?i)([?&](?:(?!{_NAMES})[\w.-])*+(?:{_NAMES})[\w.-]*+=)(?:\\.|[^&\s\"'\\])++"),
        r"\1***",
    ),
    (re.compile(r"([bB](?<!\w.)[eE][aA][rR][eE][rR] )[\w.~+/=-]++"), r"\1***"),
)


def redact(text: str) -> str:
    """`text` without the user and password of URLs, signed query values and bearer tokens.

    JSON stays JSON: an escaped character, such as a quote, goes as a whole or stays.
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text
