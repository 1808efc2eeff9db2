# SPDX-License-Identifier: AGPL-3.0-or-later
"""The documentation as a site: `make docs` (docs/adr/0051-docs-as-a-site.md).

The pages are the Markdown files that a forge shows, at the places where they are; the navigation is the lists of
docs/index.md. Nothing is loaded from elsewhere at reading time, and the search needs no server.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
INDEX, DECISIONS = "docs/index", "docs/adr/README"

project = "edgeagent"
author = "the contributors of edgeagent"
version = re.findall('__version__ = "(.+)"', (ROOT / "edgeagent/__init__.py").read_text())[0]
release = version

extensions = ["myst_parser"]
root_doc = INDEX
include_patterns = ["*.md", "docs/**.md", "deploy/**.md"]
exclude_patterns = [
    "docs/site",
    *(f.name for f in ROOT.iterdir() if f.name not in ("docs", "deploy") and f.is_dir()),
]
# What Markdown means on a forge, and nothing else.
myst_disable_syntax = ["myst_block_break", "myst_line_comment", "myst_target", "myst_role"]
myst_heading_anchors = 4
# A diagram in Mermaid is shown as its text, and JSON with an ellipsis without colours.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"edgeagent {version}"
html_extra_path = ["extra"]
html_copy_source = False
html_show_sphinx = False


def setup(app: Any) -> None:
    """What Sphinx calls first."""
    app.connect("source-read", _add_navigation)


def _add_navigation(_app: Any, page: str, source: list[str]) -> None:
    """The sections of docs/index.md are those of the navigation; the link that begins a line of a list is a page."""
    if page == INDEX:
        for section in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]:
            caption, _, text = section.partition("\n")
            links = re.findall(r"^- \[([^]]+)\]\(([^)#]+)\.md\)", text, flags=re.MULTILINE)
            pages = [f"{title} <{path}>" for title, path in links]
            source[0] += _toctree(f":caption: {caption}\n:hidden:", pages)
    elif page == DECISIONS:
        source[0] += _toctree(":glob:", ["0*"])


def _toctree(options: str, pages: list[str]) -> str:
    return "\n\n```{toctree}\n" + options + "\n\n" + "\n".join(pages) + "\n```\n"
