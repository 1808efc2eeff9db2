# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page's files hang together, come from nowhere else, and have nothing that its content security policy refuses."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgeagent.web.page_routes import FOLDER

SCRIPTS = sorted(path for path in FOLDER.rglob("*.js") if "vendor" not in path.parts)
PAGES = sorted(FOLDER.glob("*.html"))
STYLES = sorted(FOLDER.rglob("*.css"))
_IMPORT = re.compile(r"""(?:from|import|import\(|new URL\()\s*["']([^"']+)["']""")
_AT_ONCE = re.compile(r"""from\s*["']([^"']+)["']""")


class Elements(HTMLParser):
    """What a page has: tags with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """As HTMLParser calls it."""
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_data(self, data: str) -> None:
        """As HTMLParser calls it."""
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)


def imported(path: Path, names: re.Pattern[str] = _IMPORT) -> Iterator[Path]:
    """The modules that a script names."""
    for name in names.findall(path.read_text("utf-8")):
        assert name.startswith(("./", "../")), (path.name, name)
        yield (path.parent / name).resolve()


def reached(roots: Iterable[Path], names: re.Pattern[str] = _IMPORT) -> set[Path]:
    """Scripts, all that they name, and so on."""
    seen: set[Path] = set()
    ahead = [path.resolve() for path in roots]
    while ahead:
        path = ahead.pop()
        if path not in seen:
            seen.add(path)
            ahead += imported(path, names) if "vendor" not in path.parts else ()
    return seen


def test_every_module_that_is_named_is_there() -> None:
    """With its ending: there is no build that would find it."""
    missing = {(path.name, found.name) for path in SCRIPTS for found in imported(path) if not found.is_file()}
    assert missing == set()


def test_no_module_is_left_over() -> None:
    """Each is reached from one that a page loads."""
    roots = [
        FOLDER / str(attributes["src"]).removeprefix("page/")
        for page in PAGES
        for tag, attributes in Elements(page.read_text("utf-8")).tags
        if tag == "script"
    ]
    assert {path.resolve() for path in FOLDER.rglob("*.js")} == reached(roots)


def test_first_view_is_small_and_comes_at_once() -> None:
    """Its scripts, as they lie there, are below 120 kB, and asked for at once, not one after the other; all of them
    together are below 105 kB as they are sent."""
    first = reached([FOLDER / "app.js", FOLDER / "panels" / "lines.js"], _AT_ONCE)
    assert 50_000 < sum(path.stat().st_size for path in first) < 120_000
    assert sum(len(gzip.compress(path.read_bytes())) for path in FOLDER.rglob("*.js")) < 105_000
    links = Elements((FOLDER / "index.html").read_text("utf-8")).tags
    asked = [str(a["href"]) for tag, a in links if tag == "link" and a.get("rel") == "modulepreload"]
    asked += [str(a["src"]) for tag, a in links if tag == "script"]
    assert {(FOLDER / name.removeprefix("page/")).resolve() for name in asked} == first


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_loads_what_is_there(page: Path) -> None:
    """All links are relative, so that it works below a path prefix, and lead to files of the package."""
    elements = Elements(page.read_text("utf-8"))
    assert elements.inline == []
    for tag, attributes in elements.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        for name in ("src", "href"):
            link = attributes.get(name) or ""
            if link.startswith("page/"):
                assert (FOLDER / link.removeprefix("page/")).is_file(), link
            else:
                assert not re.match(r"[a-z]+:|/", link), link


def test_nothing_comes_from_elsewhere() -> None:
    """No address of another host; styles import nothing."""
    elsewhere = re.compile(r"""https?://\w|["'(]//\w|@import|\burl\((?!data:)""")
    for path in (*SCRIPTS, *STYLES, *PAGES):
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not (found := elsewhere.search(text)), (path.name, found)


def test_scripts_set_no_style_from_text() -> None:
    """A style attribute that comes as text is refused by the policy."""
    for path in SCRIPTS:
        found = re.search(r"""\sstyle=["']|setAttribute\(\s*["']style""", path.read_text("utf-8"))
        assert not found, (path.name, found)


def test_libraries_come_with_their_licences() -> None:
    """And README.txt says which version of each it is."""
    vendor = FOLDER / "vendor"
    said = (vendor / "README.txt").read_text("utf-8")
    for path in vendor.iterdir():
        assert path.name == "README.txt" or path.name in said
    assert re.findall(r"\d+\.\d+\.\d+", said)
