# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proxy of the environment, named without what is secret in it."""

from __future__ import annotations

import pytest

from edgeagent.util.proxy import environment_proxy


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, ""),
        ({"http_proxy": "http://proxy.plant:3128"}, "http_proxy=proxy.plant:3128"),
        ({"http_proxy": "http://me:secret@proxy:3128/"}, "http_proxy=proxy:3128"),
        ({"http_proxy": "proxy:3128"}, "http_proxy=proxy:3128"),
        ({"http_proxy": "a:1", "https_proxy": "b:2"}, "https_proxy=b:2"),
        ({"http_proxy": "http://[::1"}, "http_proxy"),
    ],
)
def test_the_proxy_that_grpc_would_take(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    """Its first variable; never a password."""
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy() == named
