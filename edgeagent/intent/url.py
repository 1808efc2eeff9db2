# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the URL of a config store to its adapter."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgeagent.errors import UsageError
from edgeagent.intent.port import ConfigStore

DEFAULT_ETCD_PORT = 2379
_ALLOWED = "allowed are etcd://host:port[,host:port...] and file:///folder"
_ENDPOINT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


def open_config_store(url: str, *, username: str = "", password_file: Path | None = None) -> ConfigStore:
    """The config store behind `url`; nothing is connected yet, so that an absent server is no error here.

    username, password_file: for an etcd with authentication; the file is read again at each authentication.
    Raises UsageError for a wrong URL.
    """
    where = parse_config_url(url)
    if isinstance(where, Path):
        if username or password_file:
            raise UsageError(f"config store {url}", "a folder takes no username and password")
        from edgeagent.intent.folder import FileConfigStore

        return FileConfigStore(where)
    if bool(username) != bool(password_file):
        raise UsageError(f"config store {url}", "username and password_file go together", "set both or none")
    from edgeagent.intent.etcd import EtcdConfigStore

    return EtcdConfigStore(where, username=username, password_file=password_file)


def parse_config_url(url: str) -> Path | tuple[str, ...]:
    """The folder of a `file:` URL, or the endpoints (`host:port`) of an `etcd:` URL. Raises UsageError."""
    try:
        parts = urlsplit(url)
    except ValueError as e:
        raise UsageError(f"config store {url}", str(e), _ALLOWED) from e
    if "@" in parts.netloc:
        shown = f"{parts.scheme}://...@{parts.netloc.rpartition('@')[2]}"
        raise UsageError(
            f"config store {shown}", "credentials don't belong in a URL", "use username and password_file"
        )
    if parts.query or parts.fragment:
        raise UsageError(f"config store {url}", "it takes no ? and no #", _ALLOWED)
    if parts.scheme == "etcd":
        return _endpoints(url, parts.netloc, parts.path)
    if parts.scheme == "file":
        return _folder(url, parts.netloc, parts.path)
    raise UsageError(f"config store {url}", "this kind of URL is unknown", _ALLOWED)


def _endpoints(url: str, netloc: str, path: str) -> tuple[str, ...]:
    if path not in ("", "/"):
        raise UsageError(f"config store {url}", f"etcd takes no path ({path})", _ALLOWED)
    found: dict[str, None] = {}  # in the order given, each once
    for text in netloc.split(","):
        match = _ENDPOINT.fullmatch(text)
        port = int(match["port"] or DEFAULT_ETCD_PORT) if match else 0
        if not match or not 0 < port < 65536:
            raise UsageError(f"config store {url}", f"{text!r} is not host:port", _ALLOWED)
        found[f"{match['host']}:{port}"] = None
    return tuple(found)


def _folder(url: str, netloc: str, path: str) -> Path:
    if netloc not in ("", "localhost"):
        raise UsageError(f"config store {url}", "the folder must be absolute, with three slashes", _ALLOWED)
    folder = unquote(path)
    if not folder.startswith("/") or "\0" in folder:
        raise UsageError(f"config store {url}", "the folder must be absolute, with three slashes", _ALLOWED)
    return Path(folder)
