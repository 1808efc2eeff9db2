# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pages in Markdown: their links lead somewhere, anchors included, and each page is in the navigation.

`make docs` (docs/site) checks the same when it builds the site; this needs no generator, and says it at once.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt  # what rich reads Markdown with
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted(p for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md") for p in ROOT.glob(pattern))
IN_SOURCES = re.compile(r"\b(?:docs|configs|deploy)/[\w./-]+\.(?:md|ya?ml|json|sh)\b")
"""How files of the repository are named in messages, comments and configurations."""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading that is there."""
    dead = []
    for link in _links(page):
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_relative_to(ROOT) or not target.exists():
            dead.append(f"{link}: no such file")
        elif anchor and anchor not in _anchors(target):
            dead.append(f"{link}: no such heading there")
    assert not dead


def test_each_page_is_in_the_navigation() -> None:
    """A page that docs/index.md doesn't name is found by nobody; decisions are listed by themselves."""
    index = ROOT / "docs/index.md"
    named = {(index.parent / link).resolve() for link in _links(index)}
    assert {
        p.relative_to(ROOT).as_posix() for p in PAGES if p not in named and not p.name.startswith("00")
    } == {"docs/index.md"}


def test_sources_name_files_that_are_there() -> None:
    """Messages and comments send people to pages of the repository."""
    dead = {
        f"{file.relative_to(ROOT)}: {named}"
        for folder in ("edgeagent", "configs", "deploy", "tools", "bench")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".yaml", ".yml", ".service", ".sh", ".html", ".js"}
        and "vendor" not in file.parts
        for named in IN_SOURCES.findall(file.read_text("utf-8"))
        if not (ROOT / named).exists()
    }
    assert not dead


def _links(page: Path) -> Iterator[str]:
    """Where the links and pictures of a page lead, within the repository."""
    for token in _inline(_parsed(page)):
        link = token.attrGet("href" if token.type == "link_open" else "src")
        if token.type in {"link_open", "image"} and not re.match(r"[a-z]+:", str(link)):
            yield str(link)


@cache
def _anchors(page: Path) -> frozenset[str]:
    """Of the headings of a page, as GitHub and MyST make them."""
    if page.suffix != ".md":
        return frozenset()
    tokens, seen, anchors = _parsed(page), Counter[str](), set()
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open":
            text = "".join(t.content for t in inline.children or [] if t.type in {"text", "code_inline"})
            kept = (c for c in text.lower() if c in " -_" or unicodedata.category(c)[0] in "LN")
            anchor = "".join(kept).replace(" ", "-")
            anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
    return frozenset(anchors)


def _inline(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or ()


@cache
def _parsed(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))
