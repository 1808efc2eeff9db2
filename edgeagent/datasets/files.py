# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of strangers: read within bounds, and only what is a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from edgeagent.errors import UsageError
from edgeagent.util.plain_file import open_plain_file

MAX_TEXT_BYTES = 1 << 20
"""Of a label file, a data.yaml, a list of pictures."""
MAX_PICTURE_BYTES = 64 << 20
_MAX_DEPTH = 16


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes; a link is followed. Raises UsageError."""
    try:
        with open_plain_file(path) as stream:
            data = stream.read(limit + 1)
    except OSError as e:
        raise UsageError(f"file {path}", e.strerror or str(e), "name a file that can be read") from e
    if len(data) > limit:
        raise UsageError(f"file {path}", f"is larger than {limit} bytes", "is it what it should be?")
    return data


def read_text(path: Path) -> str:
    """The same of a text in UTF-8. Raises UsageError."""
    try:
        return read_bytes(path, MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise UsageError(f"file {path}", f"is not UTF-8 (byte {e.start})", "save it as UTF-8") from e


def read_yaml(path: Path) -> Any:
    """The plain values of a YAML file: without aliases, a few of which can stand for billions of values, and nested no
    deeper than such a file needs. Raises UsageError."""
    text = read_text(path)
    depth = 0
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise UsageError(f"file {path}", "has YAML aliases", "write out what they stand for")
            if isinstance(event, yaml.CollectionStartEvent | yaml.CollectionEndEvent):
                depth += 1 if isinstance(event, yaml.CollectionStartEvent) else -1
            if depth > _MAX_DEPTH:
                raise UsageError(f"file {path}", "broken YAML: it is nested too deep", "correct it")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        mark = getattr(e, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise UsageError(f"file {path}", f"{line}broken YAML", "correct it") from e


def check_inside(path: Path, root: Path) -> None:
    """Raise UsageError for a link that leads out of the set: what lies there is not of the set, and who is given the
    set could be given anything. `root` is resolved."""
    try:
        leads_out = path.is_symlink() and not path.resolve().is_relative_to(root)
    except (OSError, RuntimeError) as e:  # a loop
        raise UsageError(
            f"file {path}", f"is a link that leads nowhere ({e})", "put the file itself there"
        ) from e
    if leads_out:
        raise UsageError(f"file {path}", f"is a link that leads out of {root}", "put the file itself there")
