# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets that can be read on their way, which the operator may not expect."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from edgeagent.config.schema import Config
from edgeagent.errors import UsageError
from edgeagent.intent.port import Access
from edgeagent.intent.url import find_adapter, parse_source_url
from edgeagent.util.hosts import is_loopback


def clear_text_secrets(config: Config) -> Iterator[tuple[str, str]]:
    """Where in the configuration, and what about it."""
    api = config.api
    if not is_loopback(api.host) and api.tls is None:
        hooks = " and the secrets of hooks that sign nothing" if api.hooks else ""
        yield (
            "api",
            f"over http the token{hooks} can be read on the way; set api.tls, or a proxy with TLS before 127.0.0.1",
        )
    names = ("config_store", *(f"intent_sources[{n}]" for n in range(len(config.intent_sources))))
    for name, source in zip(names, (config.config_store, *config.intent_sources), strict=True):
        if why := readable_login(source.url, source.access()):
            yield name, why
    if has_readable_password(config.model_store.url):
        yield "model_store", "its URL holds a password, which over http can be read on the way; use https"
    for n, receiver in enumerate(config.notify):
        if (sent := receiver.sends_secret_to()) and not is_loopback(sent[0]):
            yield f"notify[{n}]", sent[1]
    for n, pipeline in enumerate(config.pipelines):
        if has_readable_password(pipeline.source.url):
            yield (
                f"pipelines[{n}].source",
                "the camera is sent its password over http, in clear text; use https or rtsps",
            )
        for m, sink in enumerate(pipeline.sinks):
            if (sent := sink.sends_secret_to()) and not is_loopback(sent[0]):
                yield f"pipelines[{n}].sinks[{m}]", sent[1]


def readable_login(url: str, access: Access) -> str:
    """Why the password of a config store can be read on the way to it; "" where it can't, or there is none."""
    try:
        adapter, address = find_adapter(url), parse_source_url(url)
    except UsageError:
        return ""
    hosts = [endpoint.rpartition(":")[0] for endpoint in address.endpoints]
    if not access.username or access.tls or all(map(is_loopback, hosts)):
        return ""
    options = {name: str(value).upper() for name, value in access.options.items()}
    if adapter.scheme == "kafka" and (
        options.get("security.protocol") != "SASL_PLAINTEXT"
        or "PLAIN" not in (options.get("sasl.mechanism"), options.get("sasl.mechanisms"))
    ):
        return ""
    if adapter.scheme == "zk" and options.get("auth") == "SASL":
        return ""
    return f"{adapter.kind} is sent the password in clear text, for all on the way to read; set tls"


def has_readable_password(url: str) -> bool:
    """Whether a URL sends a password over http to another machine."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and bool(parts.password) and not is_loopback(parts.hostname or "")
    except ValueError:
        return False
