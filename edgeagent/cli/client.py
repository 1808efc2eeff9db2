# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line's side of a node's HTTP API: ask it, and take its answer or its error."""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from edgeagent.cli.completion import DEFAULT_URL
from edgeagent.errors import (
    ConflictError,
    EdgeAgentError,
    NotFoundError,
    NotKeptError,
    UnavailableError,
    UsageError,
)
from edgeagent.intent.port import Tls
from edgeagent.util.hosts import is_loopback
from edgeagent.util.secret import read_secret

if TYPE_CHECKING:  # who only wants a line of help doesn't wait for it
    from pydantic import BaseModel

Answer = TypeVar("Answer", bound="BaseModel")
TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 16 << 20
_KIND_OF: dict[int, type[EdgeAgentError]] = {
    401: UsageError,
    404: NotFoundError,
    409: ConflictError,
    422: UsageError,
    503: UnavailableError,
    507: NotKeptError,
}


_NO_TLS = Tls()
_TLS_TODO = (
    "does the node have https (api.tls), is --ca-file who signed its certificate, and does it ask for yours?"
)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The API has no redirects; following one would carry the token elsewhere."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def ask(
    url: str,
    path: str,
    token_file: Path | None = None,
    body: Mapping[str, Any] | None = None,
    tls: Tls = _NO_TLS,
) -> Any:
    """GET `path` of the node at `url`, or POST `body` to it. Returns the decoded JSON.

    tls: whom to trust where the URL is one of https, and who we are; a token that others can read on its way is said.

    Proxies are left aside: a node is near. Raises UsageError, NotFoundError, ConflictError or
    UnavailableError, in the node's own words where it answered.
    """
    what = f"node at {url}"
    if not url.startswith(("http://", "https://")):
        raise UsageError(what, "not a URL of a node", f"use one such as {DEFAULT_URL}")
    headers = {"Accept": "application/json"}
    secure = urllib.request.HTTPSHandler(context=_context(url, tls))
    if token_file is not None:
        host = urllib.parse.urlsplit(url).hostname or ""
        if url.startswith("http://") and not is_loopback(host):
            sys.stderr.write(f"warning: {what}: over http the token can be read on the way; use https\n")
        headers["Authorization"] = f"Bearer {read_secret(token_file)}"
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect, secure)
    try:
        request = urllib.request.Request(url.rstrip("/") + path, data, headers)
        with opener.open(request, timeout=TIMEOUT_S) as response:
            return _decode(response, what)
    except urllib.error.HTTPError as e:
        with e:
            raise _told(e, what) from e
    except (OSError, http.client.HTTPException, ValueError) as e:
        cause = getattr(e, "reason", e)
        why = str(cause) or type(cause).__name__
        if isinstance(cause, ssl.SSLError):
            raise UnavailableError(what, f"no connection by TLS ({why})", _TLS_TODO) from e
        raise UnavailableError(what, f"no answer ({why})", "is the node running, and is --url right?") from e


def _context(url: str, tls: Tls) -> ssl.SSLContext | None:
    given = [path for path in (tls.ca_file, tls.cert_file, tls.key_file) if path]
    if not url.startswith("https://"):
        if given:
            raise UsageError(f"node at {url}", "certificates need https", "give --url https://HOST:PORT")
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ValueError) as e:  # ssl.SSLError is one
        files = ", ".join(map(str, given))
        raise UsageError(
            f"certificates {files}", str(e), "give PEM files; a key goes with its certificate"
        ) from e
    return context


def read(answer: Any, form: type[Answer], url: str) -> Answer:
    """The node's decoded answer in the form of its schema. Raises UnavailableError when it doesn't have it."""
    from pydantic import ValidationError

    try:
        return form.model_validate(answer)
    except ValidationError as e:
        first = e.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "all of it"
        raise UnavailableError(
            f"node at {url}",
            f"the answer is not that of a node of this release ({field}: {first['msg']})",
            "--json shows it as it is",
        ) from e


def _decode(response: IO[bytes], what: str) -> Any:
    data = response.read(MAX_ANSWER_BYTES + 1)
    try:
        if len(data) > MAX_ANSWER_BYTES:
            raise ValueError("too long")
        return json.loads(data)
    except (ValueError, RecursionError) as e:
        raise UnavailableError(what, f"the answer is not that of a node ({e})", "is --url right?") from e


def _told(error: urllib.error.HTTPError, what: str) -> EdgeAgentError:
    kind = _KIND_OF.get(error.code, EdgeAgentError)
    try:
        told = json.loads(error.read(64 * 1024))["error"]
        if error.code == 401:
            return kind(
                what, str(told["why"]), "give --token-file, the file that the node's api.token_file names"
            )
        return kind(str(told["what"]), str(told["why"]), str(told["todo"]))
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return kind(what, f"it answered {error.code} {error.reason}", "is --url that of a node?")
