# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model store on a web server; read-only.

Not through fsspec, whose file system for HTTP takes a whole body for a range from a server that knows none,
and drops what it has received but not yet handed on when a connection breaks.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import closing
from http import HTTPStatus
from urllib.parse import quote, unquote, urljoin, urlsplit

import requests
import urllib3

_CHUNK = 1 << 20
_MAX_LISTING_BYTES = 8 << 20
_MAX_REDIRECTS = 5
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)


def open_files(url: str, timeout_s: float, options: Mapping[str, object]) -> HttpFiles:
    """options: `headers`, by name. Raises ValueError for others, or a URL without a host."""
    headers = options.get("headers", {})
    if set(options) - {"headers"} or not isinstance(headers, Mapping):
        raise ValueError("unknown options; http(s) takes headers: {NAME: VALUE}")
    if not urlsplit(url).hostname:
        raise ValueError("the URL names no host; write https://host/path")
    return HttpFiles(url, timeout_s, {str(k): str(v) for k, v in headers.items()})


class HttpFiles:
    """Files below a URL; a query in it, such as a token, is sent with each path. See `port.Files`.

    headers: sent with each request. Proxies, CA bundles and .netrc are taken from the environment.
    """

    def __init__(self, url: str, timeout_s: float, headers: Mapping[str, str]) -> None:
        """Connect to nothing yet."""
        self._base = urlsplit(url)
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.max_redirects = _MAX_REDIRECTS
        # A compressed body would have other offsets and another length.
        self._session.headers.update({"Accept-Encoding": "identity", **headers})

    def is_there(self) -> bool:
        """A server that answered is there."""
        return True

    def stream(self, path: str, offset: int) -> Generator[bytes]:
        """The file from `offset` on, also from a server that sends all of it. Raises OSError."""
        response = self._get(path, {"Range": f"bytes={offset}-"} if offset else {})
        if offset and _start(response, offset) is None:
            # It can't be told which part this is: all of it, then, of which nothing can be unclear.
            response.close()
            response = self._get(path, {})
        with closing(response):
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return
            skip = _bytes_to_skip(response, offset)
            _require_file(response, path)
            while chunk := _read(response):
                if len(chunk) > skip:
                    yield chunk[skip:]
                skip = max(0, skip - len(chunk))

    def identity(self, path: str) -> dict[str, str]:
        """What the headers tell of the content. Raises OSError."""
        with closing(self._get(path, {})) as response:
            names = ("Content-Length", "ETag", "Last-Modified", "Content-MD5")
            return {name: response.headers[name] for name in names if name in response.headers}

    def names(self, path: str) -> list[str]:
        """The entries of the page by which most servers list a folder. Raises OSError."""
        page = bytearray()
        with closing(self._get(f"{path}/", {})) as response:
            while len(page) < _MAX_LISTING_BYTES and (chunk := _read(response)):
                page += chunk
        here = urlsplit(response.url).path
        links = re.findall(r"""href\s*=\s*["']([^"'?#]+)""", page.decode("utf-8", "replace"), re.IGNORECASE)
        paths = (urlsplit(urljoin(response.url, link)).path.rstrip("/") for link in links)
        return [
            unquote(p.removeprefix(here)) for p in paths if p.startswith(here) and "/" not in p[len(here) :]
        ]

    def _get(self, path: str, headers: Mapping[str, str]) -> requests.Response:
        url = self._base._replace(path=f"{self._base.path.rstrip('/')}/{quote(path)}").geturl()
        try:
            response = self._session.get(url, headers=headers, stream=True, timeout=self._timeout_s)
        except requests.Timeout as e:
            raise TimeoutError(str(e)) from e
        except requests.RequestException as e:
            raise ConnectionError(f"{type(e).__name__}: {e}") from e
        status = response.status_code
        if status < 400 or (status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers):
            return response
        response.close()
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise FileNotFoundError(url)
        if status in _REFUSED:
            raise PermissionError(f"the server answered {status}")
        raise ConnectionError(f"the server answered {status}")


def _start(response: requests.Response, offset: int) -> int | None:
    """The byte of the file with which the answer to a request for `offset` and on begins; None where it contradicts
    itself, or begins elsewhere. A server may send the whole body for a range."""
    if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return offset
    said = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    start = int(said[1]) if said else None
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        return start if start == offset else None
    return None if start or (said is None and "Content-Range" in response.headers) else 0


def _bytes_to_skip(response: requests.Response, offset: int) -> int:
    """How much of the answer lies before `offset`. Raises ConnectionError when that can't be told."""
    start = _start(response, offset)
    if start is None:
        said = response.headers.get("Content-Range", "no Content-Range")[:80]
        raise ConnectionError(
            f"the server answered {response.status_code} with {said} when it was asked for the whole of a file; "
            "look at it, or at a proxy before it"
        )
    return offset - start


def _require_file(response: requests.Response, path: str) -> None:
    """Raise ConnectionError for what isn't the file, but says something about it, or is packed."""
    kind = response.headers.get("Content-Type", "").lower()
    if kind.startswith("text/html") and not path.lower().endswith((".html", ".htm", ".xml")):
        raise ConnectionError("a web page came in place of the file; look at proxy or login")
    packed = response.headers.get("Content-Encoding", "identity").lower()
    if packed != "identity":
        raise ConnectionError(
            f"the file came compressed ({packed[:40]}), unasked; look at the server, or a proxy before it"
        )


def _read(response: requests.Response) -> bytes:
    """What has arrived, waiting for the first byte of it; b"" at the end. Raises OSError if it was cut off."""
    try:
        data: bytes = response.raw.read1(_CHUNK, decode_content=False)
    except urllib3.exceptions.TimeoutError as e:
        raise TimeoutError(str(e)) from e
    except urllib3.exceptions.HTTPError as e:
        raise ConnectionError(str(e)) from e
    return data
