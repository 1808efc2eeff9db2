# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the pages of tools/reference.py have in common: cells of tables, values and limits in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

HEAD = """# {title}

*Written by `make reference` from the code of this release. What can be relied on, and what it means: {about}.*
"""

Schema = Mapping[str, Any]


def one_line(text: object) -> str:
    """In a cell of a table: one line, no bar that would end the cell."""
    return " ".join(str(text).split()).replace("|", "\\|")


def cell(text: str) -> str:
    """Words in a cell: what looks like a tag is none, and pages of the documentation are links."""
    words = one_line(text).replace("<", "&lt;")
    return re.sub(r"\bdocs/([\w/]+)\.md\b", r"[\1](../\1.md)", words)


def as_code(text: object) -> str:
    """In a cell, as it is typed."""
    return f"`{one_line(text)}`"


def table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Of cells; "" without rows."""
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n" if rows else ""


def limits(field: Schema) -> Iterator[str]:
    """Each limit of a number, such as `≥ 1`."""
    for key, sign in (
        ("exclusiveMinimum", ">"),
        ("minimum", "≥"),
        ("exclusiveMaximum", "<"),
        ("maximum", "≤"),
    ):
        if key in field:
            yield f"{sign} {as_yaml(field[key])}"


def as_yaml(value: object) -> str:
    """A value as it stands in YAML, in one line."""
    if isinstance(value, dict):
        value = {name: _plain(inner) for name, inner in value.items()}
    value = _plain(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _plain(value: object) -> object:
    """20 rather than 20.0."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
