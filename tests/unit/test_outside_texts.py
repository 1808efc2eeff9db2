# SPDX-License-Identifier: AGPL-3.0-or-later
"""Texts that come from outside, wherever they come in: what they cost grows as they do, and what stays of them is cut.

`re` and `json` hold the interpreter while they work: a text whose cost grows as its square stops capture, routing and
API at once. So what is measured is how the cost grows, and not how long it takes.
"""

from __future__ import annotations

import ast
import asyncio
import json
import random
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

import edgeagent
from edgeagent.core.directive import decode_directive, directive_from_json
from edgeagent.core.model import parse_manifest
from edgeagent.core.text import MAX_BY, MAX_TEXT, clean, redact
from edgeagent.errors import EdgeAgentError
from edgeagent.observe.metrics import Metrics
from edgeagent.web.app import create_app
from edgeagent.web.guard import host_name
from edgeagent.workers.messages import decode
from edgeagent.workers.process import Exit

SHORT, LONG = 2_000, 8_000
GROWTH = 8.0
"""Four times the text costs four times as much, or the same; of what grows as the square it would be sixteen times."""
SLACK_S = 0.001
_PIECES = [
    "key",
    "token",
    "?",
    "&",
    "=",
    "://",
    "u:p@h",
    "Bearer ",
    "bearer",
    "\\",
    '"',
    "'",
    "a",
    "0",
    " ",
    "[",
    "{",
    "\n",
]
_random = random.Random(20)
WORDS = [*_PIECES, "?key", "&secret=", "?token=\\", "a://b", '{"a":', "href=", "bytes 1"]
WORDS += ["".join(_random.choices(_PIECES, k=_random.randint(2, 6))) for _ in range(6)]
STARTS = ("", "?", "x://")


def texts(length: int) -> list[str]:
    """Long and repetitive, one for each beginning and word."""
    return [(start + word * (length // len(word)))[:length] for start in STARTS for word in WORDS]


def check_growth(act: Callable[[str], Any]) -> None:
    """Fails for a text of which four times as much costs more than `GROWTH` times as much."""
    for short, long in zip(texts(SHORT), texts(LONG), strict=True):
        limit = GROWTH * cost(act, short) + SLACK_S
        assert cost(act, long, enough=limit) <= limit, f"{short[:60]!r} … costs too much when it is long"


def cost(act: Callable[[str], Any], text: str, enough: float = 0.0) -> float:
    """Processor seconds: the least of some runs, for a busy machine can only add to it."""
    least = float("inf")
    for _ in range(3):
        begin = time.thread_time()
        act(text)
        least = min(least, time.thread_time() - begin)
        if least <= enough:
            break
    return least


def message(kind: int, name: str, **fields: Any) -> bytes:
    """As a worker would send it, right or wrong."""
    return bytes((kind,)) + json.dumps([name, fields]).encode()


def said(result: Callable[[], Any]) -> str:
    """What comes of a text: the value, or the error, as text."""
    try:
        return str(result())
    except (EdgeAgentError, ValueError) as e:
        return str(e)


def key_value(**fields: Any) -> bytes:
    """An intent, as JSON."""
    return json.dumps({"version": "v1", **fields}).encode()


def manifest(text: str) -> bytes:
    """One in which many things are this text."""
    doc = {"schema": 1, "model": "m", "version": "v", "sequence": 1, "created": text, "task": "detect"}
    files = [{"path": text, "sha256": "0" * 64, "size": 1, "format": "onnx"}]
    return json.dumps({**doc, "imgsz": [32, 32], "names": ["a"], "stride": 32, "files": files}).encode()


ENTRIES: dict[str, Callable[[str], Any]] = {
    "redact": redact,
    "clean": clean,
    "a worker's answer": lambda t: decode(
        message(10, "TaskFailed", what=t, why=t, todo=t, transient=False, fingerprint="", wrong_input=False)
    ),
    "a gate's reasons": lambda t: decode(
        message(
            10,
            "GateFinished",
            result={"name": "g", "passed": False, "figures": {"f": t}, "limits": {}, "reasons": [t]},
        )
    ),
    "a frame that failed": lambda t: decode(message(9, "FrameFailed", ticket=1, why=t)),
    "a camera's state": lambda t: decode(
        message(8, "SourceState", state="lost", why=t, position=None, skipped=0)
    ),
    "what is no message": lambda t: said(lambda: decode(b"\x0a" + t.encode())),
    "a message of unknown fields": lambda t: said(lambda: decode(message(10, "TaskFailed", **{t: t}))),
    "a worker's last words": lambda t: str(Exit(1, t)),
    "a key's reason": lambda t: decode_directive("k", key_value(reason=t, by=t), "1"),
    "a key's version": lambda t: said(lambda: decode_directive("k", t.encode(), "1")),
    "a key's fields": lambda t: said(lambda: decode_directive("k", key_value(**{t: t}), "1")),
    "a saved reason": lambda t: directive_from_json({"version": "v", "wish": "w", "by": t, "reason": t}),
    "a manifest": lambda t: said(lambda: parse_manifest(manifest(t), "m", "v")),
    "what is no manifest": lambda t: said(lambda: parse_manifest(t.encode(), "m", "v")),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_cost_grows_as_the_text_does(entry: str) -> None:
    """For every way in; and what stays is no longer than what anybody reads."""
    check_growth(ENTRIES[entry])


class Node:
    """What the API needs for requests that come to nothing."""

    asked: str = ""

    async def promote(self, model: str, version: str, by: str, reason: str) -> None:
        """Remember, and refuse."""
        self.asked = by + reason
        raise EdgeAgentError(version, reason, by)


def test_what_requests_cost_grows_as_they_do() -> None:
    """In the path, in the query, in each field of the body, in a body that is none, and in headers."""
    node = Node()
    app = create_app(node, Metrics())  # type: ignore[arg-type]  # it asks nothing else of it

    def ask(method: str, url: str, **kwargs: Any) -> str:
        async def asked() -> str:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return (await client.request(method, url, **kwargs)).text

        return asyncio.run(asked())

    path = "/api/models/yolo/promote"
    for word in ("?key", '{"a":', '"a":1,', "a://b@"):
        text = word * (16_000 // len(word))
        bodies = [
            json.dumps({"version": text, "by": text, "reason": text}).encode(),
            json.dumps({"version": "v", "by": "?key" * 250, "reason": "?token=a" * 125}).encode(),
            json.dumps({f"{text[:10]}{i}": 1 for i in range(3000)}).encode(),
            text.encode(),
        ]
        for body in bodies:
            assert len(ask("POST", path, content=body)) < 4 * MAX_TEXT
        assert len(ask("GET", f"/{'x' * 16_000}")) < 2 * MAX_TEXT
        assert len(ask("GET", "/api/history", params={"limit": text})) < 2 * MAX_TEXT
    assert len(node.asked) < 3 * MAX_BY


def test_what_a_host_costs_grows_as_it_does() -> None:
    """Also when it is no host at all."""
    check_growth(host_name)


def failed_task(text: str) -> Any:
    """What the node has of a worker that says this of its failure."""
    said = {"what": text, "why": text, "todo": text}
    rest = {"transient": True, "fingerprint": "", "wrong_input": False}
    return decode(message(10, "TaskFailed", **said, **rest))


def test_what_stays_of_a_text_is_bounded() -> None:
    """Of what a worker, a key and the API say."""
    text = "word " * 5000
    failed = failed_task(text)
    assert len(failed.why) == MAX_TEXT
    assert len(str(failed)) == MAX_TEXT
    assert failed.why.endswith("…")
    directive = decode_directive("k", key_value(reason=text, by=text), "1")
    assert (len(directive.by), len(directive.reason)) == (MAX_BY, MAX_BY)
    with pytest.raises(ValueError, match="at most 4096"):
        decode(message(10, "StoreFingerprint", value=text))


def test_secrets_go_when_a_text_comes_in() -> None:
    """Where it comes in, so that whoever shows it later need not think of them."""
    text = "no rtsp://admin:pa55@cam/1?token=pa55"
    failed = failed_task(text)
    lost: Any = decode(message(8, "SourceState", state="lost", why=text, position=None, skipped=0))
    directive = decode_directive("k", key_value(reason=text, by=text), "1")
    saved = directive_from_json({"version": "v", "wish": "w", "by": text, "reason": text})
    assert "pa55" not in f"{failed} {lost} {directive} {saved}"
    long = "x" * (MAX_TEXT - 10) + "https://user:" + "p" * 500 + "@host"
    assert "p" * 5 not in clean(long).replace("https", "")


@cache
def _patterns() -> dict[str, str]:
    """Every literal pattern in the package, by where it stands."""
    found = {}
    root = Path(edgeagent.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and isinstance(node.args[0], ast.Constant)
            ):
                pattern = node.args[0].value
                text = pattern.decode() if isinstance(pattern, bytes) else pattern
                found[f"{path.relative_to(root)}:{node.lineno}"] = text
    return found


@pytest.mark.parametrize("where", _patterns())
def test_every_pattern_is_linear(where: str) -> None:
    """Whoever adds one has it tried here, on long texts of its own characters too."""
    pattern = re.compile(_patterns()[where])
    literal = re.sub(r"\\.|[^\w :/=\"'-]", "", pattern.pattern)
    for word in {literal, literal[:1], *literal, *WORDS} - {""}:
        check = [(word * (n // len(word) + 1))[:n] for n in (SHORT, LONG)]
        # What must fit the whole of a text is not looked for within it.
        for search in [pattern.match] if "\\Z" in pattern.pattern else [pattern.search, pattern.match]:
            limit = GROWTH * cost(search, check[0]) + SLACK_S
            assert cost(search, check[1], enough=limit) <= limit, f"{word!r}"
