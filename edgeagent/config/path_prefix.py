# SPDX-License-Identifier: AGPL-3.0-or-later
"""The path below which a reverse proxy shows a node."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_ALLOWED = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}){1,8}")
_TAKEN = ("api", "healthz", "login", "logout", "metrics", "openapi.json", "page", "readyz", "rollback")
"""Where the API's own paths begin."""


def _prefix(value: str) -> str:
    prefix = value.rstrip("/")
    if prefix and not _ALLOWED.fullmatch(prefix):
        raise ValueError(f"{value!r} is not a path; allowed: such as /line7, of letters, digits and . _ ~ -")
    if prefix.split("/")[1:2] and prefix.split("/")[1] in _TAKEN:
        raise ValueError(f"{value!r} begins like a path of the API; allowed: any but /{', /'.join(_TAKEN)}")
    return prefix


PathPrefix = Annotated[str, AfterValidator(_prefix)]
