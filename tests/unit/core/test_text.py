# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets in texts."""

from __future__ import annotations

import json
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.text import redact


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("rtsp://admin:pa:55@cam/1", "rtsp://***@cam/1"),
        ("https://tok@host/x", "https://***@host/x"),
        ("rtsp://u:p@ss@w@cam/1", "rtsp://***@cam/1"),  # the host begins after the last one
        ("rtsp://u:p@cam?a=b@c", "rtsp://***@cam?a=b@c"),
        ("rtsp://cam/?user=a&pwd=b&passwd=c", "rtsp://cam/?user=a&pwd=***&passwd=***"),
        (
            "rtsp://cam/live?username=a&password=b&channel=1",
            "rtsp://cam/live?username=a&password=***&channel=1",
        ),
        ("http://cam/v.cgi?loginuse=a&loginpas=b", "http://cam/v.cgi?loginuse=a&loginpas=***"),
        ("http://cam/v.flv?pass=b&auth=YTpi", "http://cam/v.flv?pass=***&auth=***"),
        ("https://a/x?sv=2024&sig=ab%2F", "https://a/x?sv=2024&sig=***"),
        ("https://b/x?X-Amz-Signature=abc&v=2", "https://b/x?X-Amz-Signature=***&v=2"),
        ("https://b/x?a=1&My-API_key.2=ab%3D\\u0041c&v=2", "https://b/x?a=1&My-API_key.2=***&v=2"),
        ("https://b/x?next=/y?token=abc", "https://b/x?next=/y?token=***"),
        ("https://b/x?tokenkey=abc&monkeys=3", "https://b/x?tokenkey=***&monkeys=***"),
        ("?key&keykey", "?key&keykey"),
        ("BEARER x,forbearer y://@", "BEARER ***,forbearer y://***@"),
        ("://a@b", "://a@b"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ('{"url":"http://a/b","who":"me@host"}', '{"url":"http://a/b","who":"me@host"}'),
        ("etcd://10.0.0.1:2379,10.0.0.2:2379", "etcd://10.0.0.1:2379,10.0.0.2:2379"),
    ],
)
def test_redact(text: str, safe: str) -> None:
    """Secrets go, the rest stays."""
    assert redact(text) == safe


@pytest.mark.parametrize("password", ["pa55", "", "P_A=5_5", "p?5", "p@5", "p%26/5", "***"])
@pytest.mark.parametrize(
    "rest", ["", "_channel=1_stream=0.sdp?real_stream", "_channel=2_stream=1&onvif=0.sdp?real_stream"]
)
def test_redact_in_a_path(password: str, rest: str) -> None:
    """As cameras built on XMEye have it: the password goes, and which camera, user and channel it is can be told."""
    forms = (
        "rtsp://cam{}",
        "rtsp://cam:554{}",
        "'rtsp://cam{}'",
        '{{"url": "RTSP://cam{}", "n": 1}}',
        "no {} here",
    )
    for form, name in product(forms, ("password", "Passwd", "pwd", "pass")):
        url = form.format(f"/user=admin_{name}=%s{rest}")
        assert redact(url % password) == url % ("***" if password else "")


@given(
    st.lists(
        st.sampled_from(
            ["https://", "a:b@", "?token=", "&key=", "/pwd=", "Bearer ", '"', "'", "\\", "x", "\n", " "]
        )
    )
)
def test_redacted_json_is_json(parts: list[str]) -> None:
    """Status, history and audit log are redacted as JSON: an escaped quote must not become the end of a text."""
    doc = {"reason": "".join(parts), "n": 1}
    assert json.loads(redact(json.dumps(doc))).keys() == doc.keys()


@pytest.mark.parametrize(
    "word",
    [
        "key",
        "?key",
        "?tokentoke",
        "&secret=",
        "?token=\\",
        "a://",
        "a://b",
        "a@",
        "/password=",
        "_pass=x_channel",
        "bearer ",
        "Bearer x",
        "x",
        "/",
        "\\",
    ],
)
@pytest.mark.parametrize("start", ["?", "x://", "Bearer ", "?key=", ""])
def test_the_cost_grows_as_the_length_does(start: str, word: str) -> None:
    """A long word from outside must not stop the node: eight times the text may cost eight times as much, not 64."""

    def cost(length: int) -> float:
        text = start + word * (length // len(word))
        seconds = []
        for _ in range(3):
            begin = time.thread_time()
            redact(text)
            seconds.append(time.thread_time() - begin)
        return min(seconds)

    assert cost(32_000) < 24 * cost(4_000) + 0.001
