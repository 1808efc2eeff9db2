# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says of itself in the config store: small whatever its names, and the important first."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.status.schema import Status
from edgeagent.status.summary import MAX_BYTES, status_url, summarize
from tests.support.statuses import a_model, a_pipeline, a_status

URL = "http://127.0.0.1:8080/api/status"
NOW = 1767225600.25
DIGEST = f"sha256:{'0' * 64}"


def stable(version: str, digest: str = DIGEST) -> Any:
    """A model where all is well."""
    model = a_model()
    assert model.active
    active = model.active.model_copy(update={"version": version, "digest": digest})
    return model.model_copy(update={"aspired": version, "active": active, "state": "STABLE", "held": None})


def a_node(models: dict[str, Any], pipelines: dict[str, Any], **more: Any) -> Status:
    """A node with these."""
    return a_status().model_copy(
        update={"disk_error": None, "models": models, "pipelines": pipelines, **more}
    )


def test_a_usual_node_is_said_whole() -> None:
    """Two models, three cameras: fields of the status under their names there, and where the rest is."""
    node = a_node({"yolo": stable("v2"), "labels": stable("v7")}, {"line-1": a_pipeline()})
    assert json.loads(summarize(node, URL, NOW)) == {
        "ts": 1767225600,
        "left_out": 0,
        "node": "n1",
        "status_url": URL,
        "models": {
            name: {
                "aspired": version,
                "state": "STABLE",
                "active": {"version": version, "epoch": 3, "digest": DIGEST},
            }
            for name, version in (("labels", "v7"), ("yolo", "v2"))
        },
        "pipelines": {"line-1": {"state": "running"}},
    }


def test_what_is_not_well_comes_first() -> None:
    """Of forty models and lines, the one that is held and the camera that is lost are said; the rest is counted."""
    models = {f"model-{n:02}": stable("v2") for n in range(40)} | {"zebra": a_model()}
    lost = a_pipeline().model_copy(update={"state": "lost"})
    lines = {f"line-{n:02}": a_pipeline() for n in range(40)} | {"zoo": lost}
    said = json.loads(summarize(a_node(models, lines), URL, NOW))
    assert next(iter(said["models"])) == "zebra"
    assert said["models"]["zebra"]["held"] == {"kind": "rollback", "version": "v1"}
    assert said["left_out"] > 80
    few = json.loads(summarize(a_node({"yolo": stable("v2")}, lines), URL, NOW))
    assert next(iter(few["pipelines"])) == "zoo"


@pytest.mark.parametrize("state", ["running", "ended", "waiting"])
def test_a_source_that_is_done_is_well(state: str) -> None:
    """A folder of which all pictures were taken isn't said before the camera that is lost."""
    done, lost = (a_pipeline().model_copy(update={"state": s}) for s in (state, "lost"))
    lines = {f"line-{n:02}": done for n in range(40)} | {"zoo": lost}
    said = json.loads(summarize(a_node({"yolo": stable("v2")}, lines), URL, NOW))
    assert next(iter(said["pipelines"])) == "zoo"


def test_nothing_in_it_changes_all_the_time() -> None:
    """Frames, memory and latencies would make every look a change to be written."""
    busy = a_pipeline().model_copy(update={"frames": 10_000, "captured": 10_001, "fps": 12.0})
    one, two = (a_node({"yolo": stable("v2")}, {"line-1": line}) for line in (a_pipeline(), busy))
    assert summarize(one, URL, NOW) == summarize(two.model_copy(update={"workers": []}), URL, NOW)


_text = st.text(max_size=600) | st.text('\ud800é"\\\0a', min_size=100, max_size=300)


@settings(max_examples=60, deadline=None)
@given(
    node=_text,
    url=_text,
    names=st.lists(_text, max_size=12, unique=True),
    version=_text,
    error=st.none() | _text,
)
def test_it_never_grows_beyond_its_limit(
    node: str, url: str, names: list[str], version: str, error: str | None
) -> None:
    """Whatever the names are; and it is always JSON with what a reader counts on."""
    models = {name: stable(version, digest=version) for name in names}
    lines = {name: a_pipeline().model_copy(update={"state": version}) for name in names}
    value = summarize(a_node(models, lines, node=node, disk_error=error), url, NOW)
    assert len(value) <= MAX_BYTES
    said = json.loads(value)
    assert said["ts"] == 1767225600
    found = sum(key in said for key in ("node", "status_url", "disk_error"))
    found += len(said["models"]) + len(said["pipelines"])
    found += sum("digest" in m["active"] for m in said["models"].values())
    assert found + said["left_out"] == 1 + bool(url) + bool(error) + 3 * len(names)


@pytest.mark.parametrize("names", [2, 500])
def test_the_longest_names_that_are_allowed(names: int) -> None:
    """The node's own name and where to ask always find their place."""
    long = "n" * 128
    models = {f"{'m' * 124}{n:04}": stable("v" * 128) for n in range(names)}
    value = summarize(a_node(models, {"p" * 128: a_pipeline()}, node=long), URL, NOW)
    said = json.loads(value)
    assert (said["node"], said["status_url"]) == (long, URL)
    assert len(value) <= MAX_BYTES


def test_where_the_rest_is_can_be_asked_from_elsewhere() -> None:
    """A node that listens on every address is found by its name; one whose port is taken isn't."""
    assert status_url(None) == ""
    assert status_url("http://10.0.0.7:8080") == "http://10.0.0.7:8080/api/status"
    for everywhere in ("http://0.0.0.0:80", "https://[::]:80"):
        assert not re.search(r"0\.0\.0\.0|\[::\]", status_url(everywhere))


def test_two_processes_with_one_id_are_said() -> None:
    """While that goes on; who lists the fleet sees it there."""
    assert json.loads(summarize(a_node({}, {}, id_conflict="another process"), URL, NOW))["conflict"] is True
    assert "conflict" not in json.loads(summarize(a_node({}, {}), URL, NOW))


def test_the_page_lists_what_is_said() -> None:
    """docs/interface.md names each field."""
    page = (Path(__file__).parents[3] / "docs" / "interface.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| `/edgeagent/nodes/"))
    full = json.loads(
        summarize(a_node({"m": a_model()}, {"p": a_pipeline()}, disk_error="full", id_conflict="x"), URL, NOW)
    )
    text = page.partition("### Presence")[2].partition("\n#")[0]
    assert "Presence" in row
    for name in (*full, *full["models"]["m"]):
        assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", text), name
