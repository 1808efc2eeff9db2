# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets that can be read on their way are named, and others aren't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.config import clear_text_secrets, has_readable_password, parse_config, readable_login
from edgeagent.intent.port import Access, Tls

LOGIN = Access("node", Path("password"))
PLAIN = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}


def named(**config: Any) -> dict[str, str]:
    """What is said of a configuration."""
    return dict(clear_text_secrets(parse_config(config)))


@pytest.mark.parametrize(
    ("url", "access"),
    [
        ("etcd://10.0.0.1:2379", LOGIN),
        ("etcd://127.0.0.1:2379,10.0.0.1", LOGIN),
        ("zk://zk1:2181/plant", LOGIN),
        ("kafka://k:9092/intents", Access("node", Path("password"), None, PLAIN)),
    ],
)
def test_a_login_that_can_be_read(url: str, access: Access) -> None:
    """Etcd's authentication and ZooKeeper's digest send the password as it is, and so does SASL PLAIN."""
    assert "in clear text" in readable_login(url, access)


@pytest.mark.parametrize(
    ("url", "access"),
    [
        ("etcd://10.0.0.1:2379", Access()),
        ("etcd://10.0.0.1:2379", Access("node", Path("password"), Tls())),
        ("etcd://127.0.0.1:2379,localhost,[::1]:2379", LOGIN),
        ("zk://zk1:2181", Access("node", Path("password"), None, {"auth": "sasl"})),
        (
            "kafka://k:9092/t",
            Access("node", Path("password"), None, PLAIN | {"security.protocol": "SASL_SSL"}),
        ),
        (
            "kafka://k:9092/t",
            Access("node", Path("password"), None, PLAIN | {"sasl.mechanism": "SCRAM-SHA-512"}),
        ),
        ("file:///etc/edgeagent/intent", Access()),
    ],
)
def test_a_login_that_can_not(url: str, access: Access) -> None:
    """With TLS, on this machine, by a challenge, or none at all."""
    assert readable_login(url, access) == ""


@pytest.mark.parametrize(
    ("url", "readable"),
    [
        ("http://me:secret@store/models", True),
        ("https://me:secret@store/models", False),
        ("http://me:secret@127.0.0.1/models", False),
        ("http://store/models", False),
        ("http://[::1", False),
        ("rtsp://me:secret@camera/1", False),
        ("/var/lib/edgeagent/store", False),
    ],
)
def test_a_password_in_a_url(url: str, readable: bool) -> None:
    """Over http to another machine."""
    assert has_readable_password(url) == readable


def test_each_place_is_named(tmp_path: Path) -> None:
    """By where it stands in the configuration; what is well isn't mentioned."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    tls = {"cert_file": "c.pem", "key_file": "k.pem"}
    login = {"username": "node", "password_file": secret}
    open_api = {"host": "0.0.0.0", "token_file": secret}
    assert set(
        named(
            api=open_api,
            config_store={"url": "etcd://10.0.0.1", **login},
            intent_sources=[{"url": "file:///x"}, {"url": "zk://z", **login}],
            model_store={"url": "http://me:secret@store/models"},
            pipelines=[{"name": "a", "model": "m", "source": {"url": "http://me:secret@camera/1"}}],
        )
    ) == {"api", "config_store", "intent_sources[1]", "model_store", "pipelines[0].source"}
    assert named() == {}
    assert (
        named(api={**open_api, "tls": tls}, config_store={"url": "etcd://10.0.0.1", **login, "tls": {}}) == {}
    )
