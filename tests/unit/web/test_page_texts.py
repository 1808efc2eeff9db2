# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page's texts: every language has them all, with the same values to fill in; and what scripts ask for is there."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import pytest

from edgeagent.web.page_routes import FOLDER

LANGUAGES = sorted(path.stem for path in (FOLDER / "lang").glob("*.json"))
SCRIPTS = sorted(path for path in FOLDER.rglob("*.js") if "vendor" not in path.parts)
PLURALS = (".one", ".other", ".few", ".many", ".zero", ".two")


def texts(language: str) -> dict[str, str]:
    """One language's."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs), "a key is there twice"
        return dict(pairs)

    found: dict[str, str] = json.loads(
        (FOLDER / "lang" / f"{language}.json").read_text("utf-8"), object_pairs_hook=once
    )
    return found


def base(key: str) -> str:
    """A key without the ending for a number."""
    return next((key.removesuffix(end) for end in PLURALS if key.endswith(end)), key)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_all_texts(language: str) -> None:
    """The same keys, none empty, and the same {values} in each."""
    english, other = texts("en"), texts(language)
    assert {base(key) for key in other} == {base(key) for key in english}
    assert all(text.strip() for text in other.values())
    for key, text in other.items():
        named = english.get(key) or english[base(key) + ".other"]
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", named)), key


def test_scripts_ask_for_texts_that_are_there() -> None:
    """Each key that stands in a script as it is; those that are put together are looked up with `has` or `word`."""
    known = {form for key in texts("en") for form in (key, base(key))}
    asked = {
        (path.name, key)
        for path in SCRIPTS
        for key in re.findall(r"""\bt\(\s*["']([a-z_]+(?:\.[A-Za-z_0-9-]+)+)["']""", path.read_text("utf-8"))
    }
    assert len(asked) > 100
    assert {(name, key) for name, key in asked if key not in known} == set()


def test_nothing_shown_is_html_of_others() -> None:
    """No script makes elements from text, or runs it."""
    for path in SCRIPTS:
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|dangerouslySet",
            path.read_text("utf-8"),
        )
        assert not found, (path.name, found)


def test_scripts_are_small() -> None:
    """All of them together, those of others too, packed as they are sent: under 100 kB."""
    total = sum(len(gzip.compress(path.read_bytes())) for path in FOLDER.rglob("*.js"))
    assert total < 100_000, total
