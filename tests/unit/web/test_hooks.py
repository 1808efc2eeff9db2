# SPDX-License-Identifier: AGPL-3.0-or-later
"""Webhooks over HTTP: past the guard to their own check, answered in the API's form. In memory, without sockets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeagent.config import ConfigError, HookConfig, parse_config
from edgeagent.errors import ConflictError, NotFoundError, UnavailableError
from edgeagent.observe.metrics import Metrics
from edgeagent.web import hooks as hooks_module
from edgeagent.web.app import create_app
from edgeagent.web.guard import MAX_BODY_BYTES, MAX_HOOK_BODY_BYTES
from edgeagent.web.hooks import REFUSALS, REFUSALS_S, SEEN_PER_HOOK, Hooks
from tests.support.statuses import an_outcome

NOW = 1_700_000_000
SECRET = "correct-horse-battery-staple"
BODY = b'{"model": "yolo", "version": "v2"}'


class FakeNode:
    """Remembers what it was asked for; fails on purpose."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.error: Exception | None = None

    async def write_intent(self, *asked: str) -> None:
        self.asked.append(("write_intent", *asked))
        if self.error:
            raise self.error

    async def promote(self, *asked: str) -> object:
        self.asked.append(("promote", *asked))
        if self.error:
            raise self.error
        return an_outcome()


class Bench:
    """A node with one hook of each kind that a test asks for."""

    def __init__(self, folder: Path, **hook: Any) -> None:
        self.folder = folder
        self.now = float(NOW)
        self.node = FakeNode()
        self.counted: list[tuple[str, str]] = []
        self.secret = folder / "secret"
        self.secret.write_text(SECRET)
        self.secret.chmod(0o600)
        self.config = HookConfig(**{"secret_file": self.secret, "style": "generic"} | hook)
        self.restart()

    def restart(self) -> None:
        """The node's memory of hooks is read again."""
        hooks = Hooks(
            {"ci": self.config},
            self.node,  # type: ignore[arg-type]
            self.folder / "hooks.json",
            lambda hook, result: self.counted.append((hook, result)),
            lambda: self.now,
        )
        self.app = create_app(self.node, Metrics(), token="the-token-of-the-api", hooks=hooks)  # type: ignore[arg-type]

    def post(
        self, body: bytes = BODY, path: str = "/api/hooks/ci", method: str = "POST", **headers: str
    ) -> httpx.Response:
        """One request from elsewhere, signed unless the test brings headers of its own."""
        mac = hmac.new(SECRET.encode(), f"{NOW}.".encode() + body, hashlib.sha256).hexdigest()
        given = headers or {"X-Edgeagent-Signature": f"t={NOW},v1={mac}"}

        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://press-07.example") as client:
                return await client.request(method, path, content=body, headers=given)

        return asyncio.run(asked())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A hook for scripts of one's own, for the whole fleet."""
    return Bench(tmp_path)


def test_a_signed_delivery_writes_the_intent_of_the_fleet(bench: Bench) -> None:
    """Without the API's token, and under a name that isn't this machine's."""
    answer = bench.post()
    assert answer.status_code == 202
    assert answer.json() == {
        "hook": "ci", "state": "accepted", "asked": [{"model": "yolo", "version": "v2"}]
    }  # fmt: skip
    assert bench.node.asked == [("write_intent", "yolo", "v2", "hook ci", "generic webhook")]


def test_a_hook_of_the_node_promotes_here(tmp_path: Path) -> None:
    """And nowhere else."""
    bench = Bench(tmp_path, scope="node")
    assert bench.post().status_code == 202
    assert bench.node.asked == [("promote", "yolo", "v2", "hook ci", "generic webhook")]


def test_a_bucket_notification_brings_its_own_authorization(tmp_path: Path) -> None:
    """Which is not the API's token, and isn't one either."""
    bench = Bench(tmp_path, style="s3")
    record = {"eventName": "s3:ObjectCreated:Put", "s3": {"object": {"key": "yolo%2Fv2%2Fmanifest.json"}}}
    body = json.dumps({"Records": [record]}).encode()
    assert bench.post(body, Authorization=f"Bearer {SECRET}").status_code == 202
    assert bench.post(body, Authorization="Bearer the-token-of-the-api").status_code == 401
    assert bench.post(b"", "/api/status", "GET", Authorization=f"Bearer {SECRET}").status_code == 401


def test_what_is_not_meant_is_ignored(tmp_path: Path) -> None:
    """The sender did nothing wrong."""
    bench = Bench(tmp_path, when={"kind": "release"})
    answer = bench.post()
    assert (answer.status_code, answer.json()["state"], bench.node.asked) == (200, "ignored", [])


def test_a_wrong_signature_is_401_and_too_many_are_429(bench: Bench) -> None:
    """The right one gets through all the while, and a minute later the wrong one is answered again."""
    for _ in range(REFUSALS):
        answer = bench.post(X="1")
        assert (answer.status_code, set(answer.json()["error"])) == (401, {"what", "why", "todo"})
    assert bench.post(X="1").status_code == 429
    assert bench.post().status_code == 202
    bench.now += REFUSALS_S
    assert bench.post(X="1").status_code == 401
    assert len(bench.node.asked) == 1


def test_a_delivery_of_another_time_is_403(bench: Bench) -> None:
    """As sent again by somebody who listened, or by a clock that is wrong."""
    bench.now += 301
    answer = bench.post()
    assert (answer.status_code, bench.node.asked) == (403, [])
    assert "clocks" in answer.json()["error"]["todo"]


def test_a_delivery_counts_once_also_over_a_restart(bench: Bench) -> None:
    """A sender that missed the answer sends again, and so does one who listened."""
    assert bench.post().status_code == 202
    assert (bench.post().status_code, bench.post().json()["state"]) == (200, "duplicate")
    bench.restart()
    assert bench.post().json()["state"] == "duplicate"
    assert len(bench.node.asked) == 1


def test_a_delivery_that_could_not_be_acted_on_may_come_again(bench: Bench) -> None:
    """Senders try again after a 503."""
    bench.node.error = UnavailableError("config store", "away")
    assert bench.post().status_code == 503
    bench.node.error = None
    assert bench.post().status_code == 202


def test_deliveries_are_written_one_after_the_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config store that hangs keeps one thread of the node's; who waits too long is to send it again."""
    monkeypatch.setattr(hooks_module, "TURN_S", 0.05)
    hooks = Hooks({"ci": bench.config}, bench.node, bench.folder / "m", clock=lambda: bench.now)  # type: ignore[arg-type]
    answers = asyncio.Event()

    async def write_intent(*asked: str) -> None:
        bench.node.asked.append(asked)
        await answers.wait()

    bench.node.write_intent = write_intent  # type: ignore[method-assign]

    async def deliver(version: str) -> object:
        body = json.dumps({"model": "yolo", "version": version}).encode()
        mac = hmac.new(SECRET.encode(), f"{NOW}.".encode() + body, hashlib.sha256).hexdigest()
        return await hooks.deliver("ci", {"x-edgeagent-signature": f"t={NOW},v1={mac}"}, body, "::1")

    async def steps() -> None:
        first = asyncio.create_task(deliver("v2"))
        while not bench.node.asked:
            await asyncio.sleep(0)
        with pytest.raises(UnavailableError, match="send it again"):
            await deliver("v3")
        assert len(bench.node.asked) == 1
        answers.set()
        await first
        await deliver("v3")
        assert [asked[1] for asked in bench.node.asked] == ["v2", "v3"]

    asyncio.run(steps())


def test_the_memory_is_bounded_and_may_be_broken(bench: Bench) -> None:
    """The oldest deliveries go first; a damaged file is no reason not to serve."""
    for n in range(SEEN_PER_HOOK + 5):
        assert bench.post(b'{"model": "yolo", "version": "v%d"}' % n).status_code == 202
    kept = json.loads((bench.folder / "hooks.json").read_text())["ci"]
    assert len(kept) == SEEN_PER_HOOK
    (bench.folder / "hooks.json").write_text("[1, 2")
    bench.restart()
    assert bench.post().status_code == 202


@pytest.mark.parametrize(
    ("error", "status"), [(NotFoundError("model x", "none"), 404), (ConflictError("store", "read-only"), 409)]
)
def test_errors_of_the_node_are_passed_on(bench: Bench, error: Exception, status: int) -> None:
    """No such model here; a config store that can't be written."""
    bench.node.error = error
    assert bench.post().status_code == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"no json", 422),
        (b"{}", 422),
        (b'{"model": "..", "version": "v2"}', 422),
        (b"x" * MAX_BODY_BYTES, 422),
    ],
)
def test_a_delivery_that_cannot_be_understood_is_422(bench: Bench, body: bytes, status: int) -> None:
    """Signed, but not what the configuration says."""
    assert bench.post(body).status_code == status
    assert bench.node.asked == []


def test_bounds(bench: Bench) -> None:
    """Of the body and of the name."""
    assert bench.post(b"x" * (MAX_HOOK_BODY_BYTES + 1)).status_code == 413
    assert bench.post(path="/api/hooks/" + "n" * 200).status_code == 422
    assert bench.post(path="/api/hooks/other").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/hooks/ci"),
        ("POST", "/api/hooks"),
        ("POST", "/rollback"),
        ("POST", "/api/hooks/../../rollback"),
        ("POST", "/api/models/yolo/promote"),
    ],
)
def test_only_a_post_to_a_hook_passes_the_guard(bench: Bench, method: str, path: str) -> None:
    """Everything beside it asks for the token."""
    assert bench.post(path=path, method=method).status_code in (401, 404)
    assert bench.node.asked == []


def test_other_sites_are_refused_all_the_same(bench: Bench) -> None:
    """A browser has no business here."""
    assert bench.post(Origin="https://evil.example").status_code == 403


@pytest.mark.parametrize("secret", ["", "short", "zwölf Zeichen und mehr"])
def test_a_secret_that_cannot_be_used_is_not_told(bench: Bench, secret: str) -> None:
    """The log says why; a new secret counts without a restart."""
    bench.secret.write_text(secret)
    answer = bench.post()
    assert (answer.status_code, str(bench.secret) in answer.text) == (503, False)
    bench.secret.write_text(SECRET)
    assert bench.post().status_code == 202


def test_a_node_without_hooks_has_no_such_route(bench: Bench) -> None:
    """The guard asks for the token there as everywhere."""
    bench.app = create_app(bench.node, Metrics(), token="the-token-of-the-api")  # type: ignore[arg-type]
    assert bench.post().status_code == 401


def test_deliveries_are_counted(bench: Bench) -> None:
    """By hook and result; names that are not configured make no series of their own."""
    bench.post()
    bench.post()
    bench.post(X="1")
    bench.post(b"no json")
    bench.post(path="/api/hooks/other")
    bench.node.error = UnavailableError("config store", "away")
    bench.post(b'{"model": "yolo", "version": "v3"}')
    results = ["accepted", "duplicate", "refused", "invalid", "failed"]
    assert bench.counted == [("ci", result) for result in results]


def test_the_schema_describes_it(bench: Bench) -> None:
    """With every answer that it may give."""
    schema = bench.post(b"", "/openapi.json", "GET", Authorization="Bearer the-token-of-the-api").json()
    answers = schema["paths"]["/api/hooks/{name}"]["post"]["responses"]
    assert {"200", "202", "401", "403", "404", "409", "413", "422", "429", "503"} <= set(answers)


def hook_problems(**hook: Any) -> list[str]:
    """What is wrong with a hook's configuration."""
    try:
        parse_config({"api": {"hooks": {"ci": {"secret_file": "/s", **hook}}}})
    except ConfigError as e:
        return e.problems
    return []


def test_the_configuration_of_hooks() -> None:
    """Every style needs no more than what the provider can't know; mistakes are said by their path."""
    assert hook_problems(style="mlflow") == hook_problems(style="s3") == hook_problems(style="generic") == []
    assert hook_problems(style="github", model="yolo", when={"release.draft": ["true", "false"]}) == []
    for wrong in ({"style": "github"}, {"style": "mlflow", "version": "v{data.version"}, {"style": "bitbucket"},
                  {"style": "s3", "scope": "world"}, {"style": "s3", "tolerance_seconds": 0}, {}):  # fmt: skip
        problems = hook_problems(**wrong)
        assert len(problems) == 1, problems
        assert problems[0].startswith("api.hooks.ci"), problems
