# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page's files over HTTP: which there are, what they are called, and what a client may keep."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from edgeagent.web.answers import add_error_answers
from edgeagent.web.page_routes import FOLDER, TYPES, PageFiles, add_page


def ask(files: PageFiles, path: str, **headers: str) -> httpx.Response:
    """One GET."""

    async def asked() -> httpx.Response:
        app = FastAPI()
        add_error_answers(app)
        add_page(app, files)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://n") as client:
            return await client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return asyncio.run(asked())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page with a script in a folder below it, and a secret beside it."""
    (tmp_path / "secret.txt").write_text("s3cret")
    page = tmp_path / "page"
    (page / "vendor").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html>first")
    (page / "vendor" / "lib.js").write_text("export {}")
    (page / "notes.py").write_text("no part of the page")
    (page / "link.txt").symlink_to(tmp_path / "gone")
    return page


def test_files_by_name_and_type(folder: Path) -> None:
    """`/` is index.html; scripts are modules to a browser only under their right type."""
    files = PageFiles(folder)
    index, script = ask(files, "/"), ask(files, "/page/vendor/lib.js")
    assert (index.text, index.headers["content-type"]) == ("<!doctype html>first", "text/html; charset=utf-8")
    assert (script.text, script.headers["content-type"]) == ("export {}", "text/javascript; charset=utf-8")


@pytest.mark.parametrize(
    "path",
    ["nope.js", "notes.py", "link.txt", "vendor", "", "../secret.txt", "%2e%2e/secret.txt",
     "vendor/..%2f../secret.txt", "/etc/passwd", "vendor//lib.js", "index.html%00.js", "x" * 4000],
)  # fmt: skip
def test_nothing_else_is_served(folder: Path, path: str) -> None:
    """Neither from elsewhere on the disk, nor what is no part of a page; the answer is one of ours."""
    answer = ask(PageFiles(folder), f"/page/{path}")
    assert answer.status_code == 404
    assert "s3cret" not in answer.text


def test_what_a_client_may_keep(folder: Path) -> None:
    """It asks each time, and gets the file anew only when it has changed; a proxy may have made the tag weak."""
    files = PageFiles(folder)
    first = ask(files, "/")
    assert first.headers["cache-control"] == "no-cache"
    again = ask(files, "/", if_none_match=f'"other", W/{first.headers["etag"]}')
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    (folder / "index.html").write_text("<!doctype html>second")
    os.utime(folder / "index.html", ns=(1, 1))
    assert ask(files, "/", if_none_match=first.headers["etag"]).text == "<!doctype html>second"


def test_a_file_that_is_gone(folder: Path) -> None:
    """Such as while the package is replaced under the node: said, and nothing else comes of it."""
    files = PageFiles(folder)
    (folder / "index.html").unlink()
    assert ask(files, "/").status_code == 503


def test_the_package_has_a_page_of_known_types() -> None:
    """Whatever lies in the folder is served, and so belongs into the wheel."""
    assert "index.html" in PageFiles()._paths
    assert {path.suffix for path in FOLDER.rglob("*") if path.is_file()} <= set(TYPES)


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip, deflate, br", True), ("br, GZIP;q=0.5", True), ("gzip;q=1.0", True), ("identity", False),
     ("", False), ("gzip;q=0", False), ("gzip; q=0.000", False), ("x-gzip", False), ("gzip" * 5000, False)],
)  # fmt: skip
def test_packed_for_who_takes_that(folder: Path, accepted: str, packed: bool) -> None:
    """The same text either way, under tags of their own."""
    files = PageFiles(folder)
    answer = ask(files, "/page/vendor/lib.js", accept_encoding=accepted)
    assert answer.text == "export {}"
    assert (answer.headers.get("content-encoding") == "gzip") is packed
    assert answer.headers["etag"].endswith('-gz"') is packed
    assert answer.headers["vary"] == "accept-encoding"
