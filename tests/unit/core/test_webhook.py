# SPDX-License-Identifier: AGPL-3.0-or-later
"""Webhook deliveries: signatures as the providers make them, and what is picked out of their JSON."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from edgeagent.core.webhook import (
    STYLES,
    Asked,
    check_delivery,
    check_secret,
    check_template,
    find,
    pick,
    render,
)
from edgeagent.errors import ExpiredError, UnauthorizedError, UsageError

NOW = 1_614_265_330
SECRET = "correct-horse-battery-staple"


def standard(secret: bytes, identity: str, at: int, body: bytes) -> str:
    """A signature of Standard Webhooks."""
    mac = hmac.new(secret, f"{identity}.{at}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def check(style: str, secret: str, headers: dict[str, str], body: bytes, now: float = NOW) -> str:
    """The key of the delivery."""
    return check_delivery(style, secret, headers, body, now=now, tolerance_s=300).key


def signed(style: str, body: bytes, at: int = NOW, secret: str = SECRET) -> dict[str, str]:
    """Headers as the provider makes them."""
    if style == "github":
        return {
            "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        }
    if style == "gitlab":
        return {"x-gitlab-token": secret}
    if style == "s3":
        return {"authorization": f"Bearer {secret}"}
    if style == "mlflow":
        return {
            "x-mlflow-delivery-id": "d-1",
            "x-mlflow-timestamp": str(at),
            "x-mlflow-signature": standard(secret.encode(), "d-1", at, body),
        }
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"x-edgeagent-signature": f"t={at},v1={mac}"}


# -- signatures ------------------------------------------------------------------------------------


def test_the_vector_of_githubs_documentation() -> None:
    """docs.github.com, "Validating webhook deliveries", testing the payload validation."""
    header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert check("github", "It's a Secret to Everybody", {"x-hub-signature-256": header}, b"Hello, World!")


def test_the_vector_of_standard_webhooks() -> None:
    """The example of the specification's libraries; GitLab signs in this way where it has a signing token."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": str(NOW),
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    assert check("gitlab", secret, headers, body)
    while_keys_change = headers | {"webhook-signature": "v1,AAAA " + headers["webhook-signature"]}
    assert check("gitlab", secret, while_keys_change, body)
    with pytest.raises(UnauthorizedError):
        check("gitlab", secret, headers | {"webhook-id": "msg_other"}, body)


@pytest.mark.parametrize("style", STYLES)
def test_a_right_signature_is_taken_and_a_wrong_one_is_not(style: str) -> None:
    """Also not: none at all, one of another secret, text that is no ASCII, and endless ones."""
    body = b'{"model": "yolo"}'
    headers = signed(style, body)
    assert check(style, SECRET, headers, body)
    wrong: list[dict[str, str]] = [{}, signed(style, body, secret="another-secret-of-some-length")]
    wrong += [
        dict.fromkeys(headers, value) for value in ("", "é", "v1,", "t=1,v1=", "v1," * 99_999, "\ud800")
    ]
    for given in wrong:
        with pytest.raises(UnauthorizedError):
            check(style, SECRET, given, body)
    if style not in ("gitlab", "s3"):  # whose plain tokens say nothing of the body
        with pytest.raises(UnauthorizedError):
            check(style, SECRET, headers, body + b" ")


@pytest.mark.parametrize("style", ["mlflow", "generic"])
@pytest.mark.parametrize("off_s", [-301, 301])
def test_what_was_signed_at_another_time_is_refused_as_such(style: str, off_s: int) -> None:
    """An old delivery sent again, or a wrong clock: said apart from a wrong signature."""
    with pytest.raises(ExpiredError):
        check(style, SECRET, signed(style, b"{}", NOW - off_s), b"{}")
    assert check(style, SECRET, signed(style, b"{}", NOW - off_s // 2), b"{}")


def test_a_gitlab_with_a_signing_token_is_not_believed_by_its_plain_token() -> None:
    """Else whoever reads one delivery could forge the next."""
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    with pytest.raises(UnauthorizedError):
        check("gitlab", secret, {"x-gitlab-token": secret}, b"{}")


def test_the_key_of_a_delivery_hangs_on_what_is_signed() -> None:
    """GitHub doesn't sign its delivery id: a copy under another id is the same delivery."""
    body = b'{"action": "published"}'
    headers = signed("github", body)
    first = check("github", SECRET, headers | {"x-github-delivery": "1"}, body)
    assert first == check("github", SECRET, headers | {"x-github-delivery": "2"}, body)
    assert check("mlflow", SECRET, signed("mlflow", b"{}"), b"{}") != first


@pytest.mark.parametrize(("style", "secret"), [("github", "short"), ("gitlab", "whsec_not base64 at all!")])
def test_a_secret_that_is_none_is_refused(style: str, secret: str) -> None:
    """What can be guessed, or what was cut while copying."""
    with pytest.raises(UsageError):
        check_secret(style, secret)
    check_secret(style, SECRET)


# -- picking ---------------------------------------------------------------------------------------

MLFLOW = {
    "entity": "model_version_alias",
    "action": "created",
    "timestamp": "2025-07-31T08:27:32.080217+00:00",
    "data": {"name": "yolo", "alias": "champion", "version": "3"},
}
GITHUB = {
    "action": "published",
    "release": {"tag_name": "v1.4.0", "draft": False, "prerelease": False, "id": 1},
    "repository": {"name": "inspection", "full_name": "acme/inspection"},
}
GITLAB = {"object_kind": "release", "action": "create", "tag": "v1.1", "project": {"name": "inspection"}}


def s3(key: str, event: str = "s3:ObjectCreated:Put") -> dict[str, Any]:
    """As MinIO sends it; AWS and Ceph have the same records."""
    record = {"eventName": event, "s3": {"bucket": {"name": "models"}, "object": {"key": key, "size": 1}}}
    return {"EventName": event, "Key": f"models/{key}", "Records": [record]}


def picked(style: str, document: object, **changes: Any) -> tuple[Asked, ...]:
    """What is asked for, with the style's own mapping where it isn't changed."""
    row = STYLES[style]
    mapping = {"model": row.model or "yolo", "version": row.version, "when": row.when} | changes
    return pick(style, body=json.dumps(document).encode(), **mapping)


@pytest.mark.parametrize(
    ("style", "document", "asked"),
    [
        ("mlflow", MLFLOW, Asked("yolo", "3")),
        ("github", GITHUB, Asked("yolo", "v1.4.0")),
        ("gitlab", GITLAB, Asked("yolo", "v1.1")),
        ("s3", s3("yolo%2Fv2%2Fmanifest.json"), Asked("yolo", "v2")),
        ("s3", s3("yolo/v2/manifest.json", "ObjectCreated:CompleteMultipartUpload"), Asked("yolo", "v2")),
        ("generic", {"model": "yolo", "version": "v2"}, Asked("yolo", "v2")),
    ],
)
def test_each_style_finds_its_release(style: str, document: object, asked: Asked) -> None:
    """With no more configuration than the model, where the provider doesn't know it."""
    assert picked(style, document) == (asked,)


@pytest.mark.parametrize(
    ("style", "document"),
    [
        ("mlflow", {**MLFLOW, "action": "deleted"}),
        ("mlflow", {**MLFLOW, "data": {**MLFLOW["data"], "alias": "challenger"}}),  # type: ignore[dict-item]
        ("github", {"zen": "Design for failure.", "hook_id": 1}),
        ("github", {**GITHUB, "action": "created"}),
        ("github", {**GITHUB, "release": {"tag_name": "v2", "draft": False, "prerelease": True}}),
        ("gitlab", {**GITLAB, "action": "update"}),
        ("s3", s3("yolo/v2/weights.onnx")),
        ("s3", s3("yolo/v2/golden/manifest.json")),
        ("s3", s3("manifest.json")),
        ("s3", s3("yolo/v2/manifest.json", "s3:ObjectRemoved:Delete")),
        ("s3", {"Records": "none"}),
        ("s3", {"Records": [1, None, {"eventName": 5}]}),
        ("s3", []),
        ("github", "text"),
    ],
)
def test_what_is_not_meant_asks_for_nothing(style: str, document: object) -> None:
    """Pings, drafts, other aliases, other files: the sender isn't told that something was wrong."""
    assert picked(style, document) == ()


def test_the_operators_mapping() -> None:
    """A tag in MLflow instead of an alias, a version that is called otherwise in the model store, a store below a
    prefix, and lists."""
    tag = {"entity": "model_version_tag", "action": "set"}
    tag_set = {**tag, "data": {"name": "yolo", "version": "3", "key": "deploy", "value": "yes"}}
    when = {"entity": ["model_version_tag"], "data.key": ["deploy"], "data.value": ["yes", "now"]}
    assert picked("mlflow", tag_set, version="v{data.version}", when=when) == (Asked("yolo", "v3"),)
    below = {"action": ["ObjectCreated"], "prefix": ["edge/models"], "file": ["manifest.json"]}
    assert picked("s3", s3("edge/models/yolo/v2/manifest.json"), when=below) == (Asked("yolo", "v2"),)
    assert picked("s3", s3("edge/models/yolo/v2/manifest.json")) == ()
    two = {"Records": [*s3("yolo/v1/manifest.json")["Records"], *s3("yolo/v2/manifest.json")["Records"]]}
    assert picked("s3", two) == (Asked("yolo", "v2"),)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b", 1),
        ("c[1].d", "x"),
        ("c.1.d", "x"),
        ("c[9]", None),
        ("a.b.c", None),
        ("", None),
        ("c.-1", None),
    ],
)
def test_paths(path: str, value: object) -> None:
    """Names with dots between, list elements by number; nothing where there is nothing."""
    assert find({"a": {"b": 1}, "c": [0, {"d": "x"}]}, path) == value


@pytest.mark.parametrize(
    ("document", "version"),
    [
        ({**GITLAB, "tag": None}, "{tag}"),
        ({**GITLAB, "tag": ["v1"]}, "{tag}"),
        ({**GITLAB, "tag": "release/v1"}, "{tag}"),
        ({**GITLAB, "tag": "../../etc"}, "{tag}"),
        ({**GITLAB, "tag": "v" * 200}, "{tag}"),
        (GITLAB, "{nowhere}"),
    ],
)
def test_a_release_that_cannot_be_understood_is_an_error(document: object, version: str) -> None:
    """It was meant, so the sender is told."""
    with pytest.raises(UsageError):
        picked("gitlab", document, version=version)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"payload=%7B%7D", b"[" * 100_000, b'{"a": NaN}', b'"\\ud800"']
)
def test_a_body_that_is_no_json(body: bytes) -> None:
    """Such as the form that GitHub sends unless it is told otherwise."""
    with pytest.raises(UsageError, match="content type"):
        pick("github", "yolo", "{tag}", {}, body)


@pytest.mark.parametrize("template", ["{", "}", "v{a", "va}", "{}", "{a{b}}", "{" + "a" * 201 + "}"])
def test_templates_whose_braces_do_not_fit(template: str) -> None:
    """Said when the configuration is read."""
    with pytest.raises(UsageError):
        check_template(template)


def test_rendering() -> None:
    """Text, whole numbers and truth; what the values hold is not looked at again."""
    check_template("{a}-{b.c}")
    assert render("v{a}-{b.c}.{d}", {"a": 1, "b": {"c": "{a}"}, "d": True}) == "v1-{a}.true"


def cost(work: Callable[[], object]) -> float:
    """Processor seconds of the best of three."""
    times = []
    for _ in range(3):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def test_long_texts_cost_in_proportion() -> None:
    """Twenty times as long takes nowhere near four hundred times as long."""

    def hostile(size: int) -> Callable[[], object]:
        key = "/" * size + "%2F" * size
        return lambda: picked("s3", s3(key))

    assert cost(hostile(100_000)) < 100 * max(cost(hostile(5_000)), 0.001)
