# SPDX-License-Identifier: AGPL-3.0-or-later
"""What may be changed through the API: checked as a whole, without a way to other files, hosts or secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeagent.config import ConfigError, parse_config
from edgeagent.config.document import Document, overriding, read_document, revision_of, write_document
from edgeagent.config.edits import DropPipeline, PutPipeline, PutSettings
from edgeagent.config.shown import HIDDEN, shown
from edgeagent.core.detection_settings import AS_FOUND
from edgeagent.errors import NotFoundError, UnavailableError, UsageError

CAMERA = "rtsp://user:secret@10.0.0.5/a"
SEEN = "rtsp://***@10.0.0.5/a"


def document(tmp_path: Path, **api: Any) -> Document:
    """A file with one pipeline, whose sink and camera name what the API may not."""
    path = tmp_path / "edgeagent.yaml"
    cam = {"name": "cam", "model": "yolo", "source": {"url": CAMERA}}
    cam["sinks"] = [{"type": "jsonl", "path": "/data/cam.jsonl"}]
    doc = {"node": {"id": "n1"}, "api": {"changes": {"allow": True, **api}}, "pipelines": [cam]}
    path.write_text(yaml.safe_dump(doc))
    return read_document(path)


def put(document: Document, name: str = "cam", **pipeline: Any) -> dict[str, Any]:
    """The pipeline, as it would stand in the file."""
    now = parse_config(document.doc)
    given = {"model": "yolo", "source": {"url": "synthetic://conveyor"}, **pipeline}
    doc, config = PutPipeline(name, given).apply(document, now, {})
    assert config == parse_config(doc)
    found: dict[str, Any] = doc["pipelines"][document.place_of(name)]
    return found


def test_a_pipeline_is_added_changed_and_taken_away(tmp_path: Path) -> None:
    """The others stay as they were written; what goes without saying isn't written."""
    doc = document(tmp_path)
    full = {"confidence": 0.5, "iou": 0.45, "sinks": [{"type": "log", "lossless": True}], "alarms": []}
    assert put(doc, "new", **full) == {
        "name": "new",
        "model": "yolo",
        "source": {"url": "synthetic://conveyor"},
        "confidence": 0.5,
        "sinks": [{"type": "log"}],
    }
    assert put(doc)["source"] == {"url": "synthetic://conveyor"}
    now = parse_config(doc.doc)
    dropped, config = DropPipeline("cam").apply(doc, now, {})
    assert (dropped["pipelines"], config.pipelines) == ([], [])
    with pytest.raises(NotFoundError, match="it has: cam"):
        DropPipeline("other").apply(doc, now, {})
    assert doc.doc["pipelines"][0]["source"]["url"] == CAMERA


def test_every_mistake_is_said(tmp_path: Path) -> None:
    """Of the pipeline, of what it may not name, and of the rest of the file, where that is wrong by now."""
    doc = document(tmp_path)
    with pytest.raises(ConfigError) as wrong:
        put(doc, "new", confidence=7, source={"url": "ftp://x"}, colour="red")
    assert [problem.partition(":")[0] for problem in wrong.value.problems] == [
        "pipelines[1].source.url",
        "pipelines[1].confidence",
        "pipelines[1].colour",
    ]
    doc.doc["engine"] = {"threads": -1}
    with pytest.raises(ConfigError) as wrong:
        PutPipeline("new", {"model": "yolo", "source": {"url": "/etc/passwd"}}).apply(
            doc, parse_config({}), {}
        )
    assert [problem.partition(":")[0] for problem in wrong.value.problems] == [
        "pipelines[1].source.url",
        "engine.threads",
    ]
    with pytest.raises(UsageError, match="is another name"):
        PutPipeline("new", {"name": "old"}).apply(doc, parse_config({}), {})


@pytest.mark.parametrize(
    ("pipeline", "where"),
    [
        ({"source": {"url": "/etc/shadow"}}, "source.url"),
        ({"source": {"url": "file:///srv/parts/../../etc"}}, "source.url"),
        ({"source": {"url": "/dev/mem"}}, "source.url"),
        ({"source": {"url": "/srv/parts/link/x"}}, "source.url"),
        ({"source": {"url": "http://169.254.169.254/latest"}}, "source.url"),
        ({"source": {"url": "rtsp://10.0.0.7\\@10.0.1.1/a"}}, "source.url"),
        ({"sinks": [{"type": "jsonl", "path": "/root/.ssh/authorized_keys"}]}, "sinks[0].path"),
        ({"sinks": [{"type": "jsonl", "path": "/data/cam.jsonl", "keep": 9}]}, "sinks[0].path"),
        ({"sinks": [{"type": "webhook", "url": "https://evil.example"}]}, "sinks[0].url"),
        (
            {"sinks": [{"type": "webhook", "url": "https://hook.plant/x", "token_file": "/etc/token"}]},
            "sinks[0].token_file",
        ),
        (
            {"sinks": [{"type": "mqtt", "url": "mqtts://hook.plant", "tls": {"ca_file": "/etc/ca"}}]},
            "sinks[0].tls.ca_file",
        ),
    ],
)
def test_what_a_change_may_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: dict[str, Any], where: str
) -> None:
    """Files that lie elsewhere, by whatever way; hosts that aren't listed; secrets to be sent to somebody."""
    monkeypatch.setattr(
        os.path, "realpath", lambda p: os.path.normpath(str(p).replace("/link", "/../../root"))
    )
    doc = document(tmp_path, folders=["/srv/parts"], hosts=["10.0.0.*", "*.plant"])
    with pytest.raises(ConfigError, match="through the API") as wrong:
        put(doc, **pipeline)
    assert [problem.partition(": ")[0] for problem in wrong.value.problems] == [f"pipelines[0].{where}"]


@pytest.mark.parametrize(
    "pipeline",
    [
        {"source": {"url": "/srv/parts/film.mp4"}},
        {"source": {"url": "/dev/video0"}},
        {"source": {"url": "rtsp://10.0.0.7/a"}},
        {"source": {"url": SEEN}},
        {"source": {"url": CAMERA, "stall_seconds": 3}},
        {"sinks": [{"type": "jsonl", "path": "/srv/parts/cam.jsonl"}]},
        {"sinks": [{"type": "jsonl", "path": "/data/cam.jsonl"}, {"type": "log"}]},
        {"sinks": [{"type": "webhook", "url": "https://hook.plant/x"}]},
    ],
)
def test_what_a_change_may_name(tmp_path: Path, pipeline: dict[str, Any]) -> None:
    """What the file lists, and what stays as it was."""
    doc = document(tmp_path, folders=["/srv/parts"], hosts=["10.0.0.*", "*.plant"])
    assert put(doc, **pipeline)["name"] == "cam"


def test_without_a_list_a_change_names_any_camera_and_no_receiver(tmp_path: Path) -> None:
    """A camera is read; to a receiver records are sent, and whatever file its password is said to be in."""
    doc = document(tmp_path)
    assert put(doc, "new", source={"url": "rtsp://10.0.0.9/b"})
    with pytest.raises(ConfigError, match=r"sinks\[0\].url: the host 'hook.plant'"):
        put(doc, "new", sinks=[{"type": "webhook", "url": "https://hook.plant/x"}])


def test_a_path_with_a_zero_byte_is_a_mistake(tmp_path: Path) -> None:
    """Not a fault of the node."""
    with pytest.raises(ConfigError, match=r"sinks\[0\].path: has a zero byte"):
        put(document(tmp_path, folders=["/srv"]), sinks=[{"type": "jsonl", "path": "/srv/a\0b"}])


def test_a_secret_that_was_hidden_goes_only_where_it_was(tmp_path: Path) -> None:
    """What was shown may come back as it is; with another host the password has to be given anew."""
    doc = document(tmp_path)
    seen = shown(doc.doc["pipelines"][0])
    assert seen["source"]["url"] == SEEN
    assert put(doc, **seen)["source"]["url"] == CAMERA
    for name, url in (("cam", "rtsp://***@10.9.9.9/a"), ("other", SEEN)):
        with pytest.raises(UsageError, match="a secret was shown as"):
            put(doc, name, source={"url": url})


def test_a_sink_is_as_it_is_given(tmp_path: Path) -> None:
    """What the API shows of one with a secret may come back; a field that is left out is as by default."""
    doc = document(tmp_path, hosts=["h"])
    hook = {"type": "webhook", "url": "https://h/?token=abc", "batch_records": 7}
    doc.doc["pipelines"][0]["sinks"] = [hook]
    seen = shown(parse_config(doc.doc).model_dump(mode="json"))["pipelines"][0]["sinks"]
    assert HIDDEN in seen[0]["url"]
    assert put(doc, sinks=seen)["sinks"] == [hook]
    without = {name: value for name, value in hook.items() if name != "batch_records"}
    assert put(doc, sinks=[without])["sinks"] == [without]
    with pytest.raises(ConfigError, match=r"sinks\[0\].type: is missing"):
        put(doc, sinks=[{}])
    with pytest.raises(UsageError, match="what it belongs to has changed"):
        put(doc, sinks=[{**seen[0], "batch_records": 8}])


def test_what_is_shown_holds_no_secret() -> None:
    """Passwords in URLs, values that are named as secrets, and all options of others' clients."""
    config = {
        "model_store": {"url": "s3://b", "storage_options": {"anon": True, "client_kwargs": {"x": "y"}}},
        "api": {"token_file": "/etc/token"},
        "sinks": [{"type": "mine", "api_key": "abc", "password": "", "url": "http://a/?token=abc&b=1"}],
        "models": {"yolo": {"confidence": {"token": 0.5}}},
    }
    assert shown(config) == {
        "model_store": {"url": "s3://b", "storage_options": {"anon": HIDDEN, "client_kwargs": {"x": HIDDEN}}},
        "api": {"token_file": "/etc/token"},
        "sinks": [{"type": "mine", "api_key": HIDDEN, "password": "", "url": "http://a/?token=***&b=1"}],
        "models": {"yolo": {"confidence": {"token": 0.5}}},
    }


def test_the_old_file_is_kept(tmp_path: Path) -> None:
    """The last five, with their permissions; a link stays one."""
    path = tmp_path / "real.yaml"
    path.write_text("a: 0\n")
    path.chmod(0o600)
    link = tmp_path / "edgeagent.yaml"
    link.symlink_to(path)
    for number in range(1, 8):
        revision = write_document(link, {"a": number, "b": ["x"]}, "anna\nfrom 10.0.0.1")
    assert link.is_symlink()
    assert revision == revision_of(path.read_bytes()) == read_document(link).revision
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith("# Written by edgeagent for anna from 10.0.0.1; the one before is")
    kept = {p.name: yaml.safe_load(p.read_text())["a"] for p in sorted(tmp_path.glob("real.yaml.*"))}
    assert kept == {f"real.yaml.{n}": 7 - n for n in range(1, 6)}


@pytest.mark.parametrize(
    "by", ["a\x00b", "a\x07b", "a\x1b[1mb", "a\x9bb", "a\ufffeb", "a\u2028x: 1", "é 检查 😀"]
)
def test_whoever_wants_it_so_the_file_can_be_read(tmp_path: Path, by: str) -> None:
    """A name that comes from outside stands in it as a comment, on one line."""
    path = tmp_path / "edgeagent.yaml"
    path.write_text("a: 0\n")
    write_document(path, {"a": 1}, by)
    assert read_document(path).doc == {"a": 1}


def test_a_file_that_can_not_be_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and what to do about it."""
    path = tmp_path / "edgeagent.yaml"
    path.write_text("a: 0\n")

    def read_only(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("edgeagent.config.document.write_durably", read_only)
    with pytest.raises(UnavailableError, match=r"can't be written \(Read-only file system\).*send SIGHUP"):
        write_document(path, {"a": 1}, "anna")
    assert path.read_text() == "a: 0\n"


def test_variables_that_say_it_otherwise() -> None:
    """By section, and nothing that only begins alike."""
    environ = {
        "EDGEAGENT_PIPELINES__0__CONFIDENCE": "1",
        "EDGEAGENT_PIPELINESX": "",
        "EDGEAGENT_LOG__LEVEL": "",
    }
    assert overriding(environ, "pipelines") == ["EDGEAGENT_PIPELINES__0__CONFIDENCE"]
    assert overriding(environ, "models") == []


def test_settings_of_a_model(tmp_path: Path) -> None:
    """In a section of their own; without any, it goes. Mistakes are said as of any part of the file."""
    doc = document(tmp_path)
    now = parse_config(doc.doc)
    given = {"confidence": {"dent": 0.4}, "iou": None, "region": [[0, 0], [1, 0], [1, 1]]}
    edited, config = PutSettings("yolo", given).apply(doc, now, {})
    assert edited["models"] == {"yolo": {"confidence": {"dent": 0.4}, "region": given["region"]}}
    assert config.detections("yolo").confidence == (("dent", 0.4),)
    assert config.detections("labels") is AS_FOUND
    doc.doc["models"] = edited["models"]
    assert "models" not in PutSettings("yolo", {}).apply(doc, now, {})[0]
    with pytest.raises(NotFoundError, match="use one of yolo"):
        PutSettings("labels", {}).apply(doc, now, {})
    wrong = {"confidence": {"dent": 4}, "region": [[0, 0], [1, 1], [1, 0], [0, 1]], "colour": "red"}
    with pytest.raises(ConfigError) as refused:
        PutSettings("yolo", wrong).apply(doc, now, {})
    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "models.yolo.confidence.dent",
        "models.yolo.region",
        "models.yolo.colour",
    ]
