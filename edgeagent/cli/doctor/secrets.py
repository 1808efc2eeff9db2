# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets: there, closed to others, not to be guessed, and not sent in clear text."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import WARN, Finding, attempt
from edgeagent.config import HookConfig, clear_text_secrets, read_secret
from edgeagent.core.webhook import check_secret
from edgeagent.errors import EdgeAgentError

_OF_RECEIVERS = ("password_file", "token_file", "secret_file")
_SHORT = 16


def files(x: Examination) -> Iterator[Finding]:
    """Each file that the configuration names."""
    config = x.config
    named = {
        "api.token_file": config.api.token_file,
        "config_store.password_file": config.config_store.password_file,
        **{
            f"intent_sources[{n}].password_file": s.password_file for n, s in enumerate(config.intent_sources)
        },
    }
    receivers = {
        f"pipelines[{n}].sinks[{m}]": sink
        for n, pipeline in enumerate(config.pipelines)
        for m, sink in enumerate(pipeline.sinks)
    } | {f"notify[{n}]": receiver for n, receiver in enumerate(config.notify)}
    for where, receiver in receivers.items():
        named |= {f"{where}.{name}": getattr(receiver, name, None) for name in _OF_RECEIVERS}
    for name, path in named.items():
        if path is not None:
            yield attempt(name, partial(_secret, path))
    for name, hook in config.api.hooks.items():
        yield attempt(f"api.hooks.{name}.secret_file", partial(_hook_secret, hook))


def token(x: Examination) -> Iterator[Finding]:
    """Long enough for a port that others reach."""
    if (file := x.config.api.token_file) is None:
        return
    try:
        length = len(read_secret(file))
    except EdgeAgentError:
        return  # said already
    if length < _SHORT:
        todo = f"openssl rand -hex 32 > {file}"
        yield Finding(WARN, "api.token_file", f"the token has {length} characters, and can be guessed", todo)


def clear_text(x: Examination) -> Iterator[Finding]:
    """What can be read on its way."""
    for where, why in clear_text_secrets(x.config):
        text, _, todo = why.partition("; ")
        yield Finding(WARN, where, text, todo)


def _secret(path: Path) -> str:
    read_secret(path)
    return "readable, and closed to others"


def _hook_secret(hook: HookConfig) -> str:
    check_secret(hook.style, read_secret(hook.secret_file))
    return "readable, closed to others, and hard to guess"
