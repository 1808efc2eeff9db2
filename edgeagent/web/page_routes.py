# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page's files: `/` is `index.html`, `/page/<file>` the rest, as they lie in the package's folder `page`.

A name is looked up in the list of files that the package has: nothing a client sends becomes a path.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request, Response

from edgeagent.errors import NotFoundError, UnavailableError

FOLDER = Path(__file__).parent / "page"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""What is served, by the end of its name."""


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent. packed: by gzip, what most browsers get; etag: of its content; stamp: what tells the file
    from its successor on the disk."""

    content: bytes
    packed: bytes
    media_type: str
    etag: str
    stamp: tuple[int, int, int]


class PageFiles:
    """The files below a folder, each read when it is first asked for, and again when it has changed."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Lists the folder; a file that is added later is not served."""
        found = (path for path in folder.rglob("*") if path.suffix in TYPES and path.is_file())
        self._paths = {path.relative_to(folder).as_posix(): path for path in found}
        self._files: dict[str, PageFile] = {}

    def read(self, name: str) -> PageFile:
        """The file of this name, such as `vendor/uplot.js`. Blocks. Raises NotFoundError, UnavailableError."""
        path = self._paths.get(name)
        if path is None:
            raise NotFoundError("the page", "it has no file of this name", "open /")
        try:
            about = path.stat()
            stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
            file = self._files.get(name)
            if file is None or file.stamp != stamp:
                content = path.read_bytes()
                etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
                file = self._files[name] = PageFile(
                    content, gzip.compress(content, mtime=0), TYPES[path.suffix], etag, stamp
                )
        except OSError as e:
            raise UnavailableError(
                "the page", f"{name} can't be read ({e.strerror})", "install it anew"
            ) from e
        return file


async def answer_file(files: PageFiles, request: Request, name: str) -> Response:
    """A file, packed for whoever takes that, or 304 where the client has it. Raises what `PageFiles.read` does."""
    file = await asyncio.to_thread(files.read, name)
    is_packed = _takes_gzip(request.headers.get("accept-encoding", ""))
    etag = f'{file.etag[:-1]}-gz"' if is_packed else file.etag  # other bytes: another tag
    headers = {"etag": etag, "cache-control": "no-cache", "vary": "accept-encoding"}
    known = request.headers.get("if-none-match", "").split(",")
    if etag in (tag.strip().removeprefix("W/") for tag in known):  # a proxy that packs makes it weak
        return Response(status_code=304, headers=headers)
    if is_packed:
        headers["content-encoding"] = "gzip"
    return Response(file.packed if is_packed else file.content, media_type=file.media_type, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """Whether `Accept-Encoding` names gzip, and not with a weight of nothing."""
    for coding in accepted.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "").rstrip("0").rstrip(".") not in ("q=", "q=0")
    return False


def add_page(app: FastAPI, files: PageFiles) -> None:
    """Routes of the page's files."""

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return await answer_file(files, request, "index.html")

    @app.get("/page/{name:path}", include_in_schema=False)
    async def page(request: Request, name: str) -> Response:
        return await answer_file(files, request, name)
