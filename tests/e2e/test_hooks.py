# SPDX-License-Identifier: AGPL-3.0-or-later
"""Webhooks on a real node: what a registry or a bucket posts becomes the version that serves."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.line import NodeHarness, assert_seamless

SECRET = "correct-horse-battery-staple"


def add_hook(harness: NodeHarness, name: str, **hook: Any) -> None:
    """Configure a hook with a secret file of its own."""
    secret: Path = harness.folder / f"hook-{name}"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    hooks = harness.config.setdefault("api", {}).setdefault("hooks", {})
    hooks[name] = {"secret_file": str(secret), **hook}


def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """Status code and JSON answer, as a provider would get them."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        with e:
            return e.code, json.load(e)


def mlflow_delivery(version: str, secret: str = SECRET) -> tuple[bytes, dict[str, str]]:
    """What MLflow posts when the alias champion is given to a version."""
    event = {"entity": "model_version_alias", "action": "created", "timestamp": "2026-01-01T00:00:00+00:00"}
    body = json.dumps({**event, "data": {"name": "yolo", "alias": "champion", "version": version}}).encode()
    sent = str(int(time.time()))
    mac = hmac.new(secret.encode(), f"id-{version}.{sent}.".encode() + body, hashlib.sha256).digest()
    return body, {
        "X-MLflow-Delivery-Id": f"id-{version}",
        "X-MLflow-Timestamp": sent,
        "X-MLflow-Signature": "v1," + base64.b64encode(mac).decode(),
    }


def test_a_registry_and_a_bucket_swap_a_model(harness: NodeHarness) -> None:
    """Fleet: the intent stands in the config store, where every node would find it. Node: it is held here."""
    add_hook(harness, "registry", style="mlflow", version="v{data.version}")
    add_hook(harness, "bucket", style="s3", scope="node")
    for version in ("v1", "v2", "v3"):
        harness.publish(version)
    harness.promote("v1")
    node = harness.start("v1")
    harness.wait_more(10)

    body, headers = mlflow_delivery("2")
    assert post(f"{node.url}/api/hooks/registry", body, {})[0] == 401
    assert node.active() == "v1"
    code, answer = post(f"{node.url}/api/hooks/registry", body, headers)
    assert (code, answer["state"], answer["asked"]) == (202, "accepted", [{"model": "yolo", "version": "v2"}])
    harness.wait_served("v2")
    written = json.loads((harness.intent / "models/yolo/current").read_text())
    assert written == {"version": "v2", "by": "hook registry", "reason": "mlflow webhook"}
    assert harness.wait_history("swapped", "v2")["who"] == "hook registry"

    record = {"eventName": "s3:ObjectCreated:Put", "s3": {"object": {"key": "yolo%2Fv3%2Fmanifest.json"}}}
    created = json.dumps({"Records": [record]}).encode()
    token = {"Authorization": f"Bearer {SECRET}"}
    assert post(f"{node.url}/api/hooks/bucket", created, token)[0] == 202
    harness.wait_served("v3")
    assert node.model()["held"]["kind"] == "promote"
    assert_seamless(harness.wait_more(10))

    # Sent once more, be it by the sender or by one who listened, it changes nothing; over a restart neither.
    node.stop()
    node = harness.start("v3")
    assert post(f"{node.url}/api/hooks/registry", body, headers)[1]["state"] == "duplicate"
    assert json.loads((harness.intent / "models/yolo/current").read_text())["version"] == "v2"
    assert node.active() == "v3"
