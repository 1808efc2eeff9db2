# SPDX-License-Identifier: AGPL-3.0-or-later
"""The configuration: defaults, overrides, and every mistake at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from edgeagent.config import (
    ApiConfig,
    Config,
    ConfigError,
    SourceConfig,
    default_live,
    load_config,
    parse_config,
    read_secret,
)
from edgeagent.errors import UsageError
from edgeagent.sinks.jsonl import JsonlSinkConfig
from edgeagent.sinks.log import LogSinkConfig
from edgeagent.sinks.registry import BUILT_IN

ROOT = Path(__file__).parents[2]
LINE = {"name": "line-1", "model": "yolo", "source": {"url": "/dev/video0"}}


def problems(doc: object, environ: dict[str, str] | None = None) -> list[str]:
    """What is wrong with a configuration that must be wrong."""
    with pytest.raises(ConfigError) as caught:
        parse_config(doc, environ=environ)
    return caught.value.problems


def test_every_field_has_a_default() -> None:
    """An empty configuration is whole."""
    config = parse_config({})
    assert config.api == ApiConfig(host="127.0.0.1", port=8080)
    assert config.node.id
    assert config.model_store.url == "/var/lib/edgeagent/store"
    assert config.update.probation.seconds == 60
    assert config.pipelines == []


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    """A file with comments only means all defaults."""
    path = tmp_path / "c.yaml"
    path.write_text("# nothing\n")
    assert load_config(path, {}) == Config()


def test_the_interface_example_is_understood() -> None:
    """The example of the interface's documentation parses to what it says."""
    doc = yaml.safe_load("""
node: {id: press-07, labels: {line: a}, state_dir: /var/lib/edgeagent}
config_store: {url: "etcd://10.0.0.1:2379,10.0.0.2:2379"}
model_store: {url: "s3://factory-models"}
engine: {backend: auto, device: auto, threads: 0}
pipelines:
  - name: line-1
    model: yolo
    source: {url: "rtsp://camera-1/stream"}
    confidence: 0.25
    iou: 0.45
    sinks: [{type: jsonl, path: /var/lib/edgeagent/line-1.jsonl}, {type: log}]
update: {probation: {seconds: 60}}
api: {host: 127.0.0.1, port: 8080}
""")
    config = parse_config(doc)
    assert config.node.labels == {"line": "a"}
    line = config.pipelines[0]
    assert line.source.is_live
    assert line.sinks == [JsonlSinkConfig(path=Path("/var/lib/edgeagent/line-1.jsonl")), LogSinkConfig()]


def test_configuration_is_frozen() -> None:
    """Nothing changes it after the start."""
    with pytest.raises(ValidationError):
        Config().api.port = 1  # type: ignore[misc]


def test_all_mistakes_at_once() -> None:
    """Each mistake is listed with its path and what is allowed, also those between sections."""
    found = problems(
        {
            "node": {"id": "a/b", "lables": {}},
            "api": {"host": "0.0.0.0", "port": 99999},
            "engine": {"backend": "tensort"},
            "pipelines": [
                {
                    **LINE,
                    "confidence": 3,
                    "sinks": [{"type": "jsonl", "path": "/x", "keeep": 1}, {"type": "kafka"}],
                },
                {"name": "line-1", "sinks": [{"type": "jsonl", "path": "/x"}]},
            ],
        }
    )
    starts = [
        "node.id: 'a/b' is not a valid name; allowed: ",
        "node.lables: is not known, did you mean labels?; allowed: id, labels, state_dir",
        "api.host: '0.0.0.0' can be reached from outside; allowed: ",
        "api.port: 99999 is wrong; allowed: less than or equal to 65535",
        "engine.backend: 'tensort' is not a runtime; allowed: auto, onnxruntime, openvino, torch",
        "pipelines[0].confidence: 3 is wrong; allowed: ",
        "pipelines[0].sinks[0].keeep: is not known, did you mean keep?;"
        " allowed: type, lossless, patience_seconds, path, max_mb, keep",
        "pipelines[0].sinks[1].type: 'kafka' is not known; allowed: jsonl, log, csv, snapshot, mqtt, webhook",
        "pipelines[1].model: is missing",
        "pipelines[1].source: is missing",
        "pipelines[1].name: 'line-1' is taken by pipelines[0]; allowed: unique names",
        "pipelines[1].sinks[0].path: '/x' is written by pipelines[0].sinks[0].path too",
    ]
    assert len(found) == len(starts)
    for start in starts:
        assert sum(f.startswith(start) for f in found) == 1, (start, found)


@pytest.mark.parametrize(
    ("doc", "start"),
    [
        ([], "is not a mapping"),
        ({"pipelines": {}}, "pipelines: {} is wrong; allowed: valid list"),
        ({"api": None}, "api: no value is wrong; allowed: a mapping"),
        ({"node": {"labels": {"line": 7}}}, "node.labels.line: 7 is wrong; allowed: text (put it in quotes)"),
        ({"config_store": {"url": "redis://x"}}, "config_store.url: 'redis://x' is not a config store"),
        (
            {"config_store": {"url": "zk://h", "tls": {"cert_file": "/c"}}},
            "config_store.tls.key_file: only one",
        ),
        (
            {"intent_sources": [{"url": "etcd://h"}, {"url": "etcd://h"}]},
            "intent_sources: etcd://h is given twice",
        ),
        (
            {"fleet": {"coordinate": True}},
            "fleet: coordinate: nobody can lead through file:///etc/edgeagent/intent; allowed: ",
        ),
        (
            {"intent_sources": [{"url": "file:///x", "options": {"a": 1}}]},
            "intent_sources[0].options: folder takes",
        ),
        ({"config_store": {"url": "file://relative/x"}}, "config_store.url: "),
        ({"config_store": {"url": "etcd://me:pw@h:2379"}}, "config_store.url: it holds a user or password"),
        ({"config_store": {"url": "etcd://h:1", "username": "u"}}, "config_store.password_file: only one"),
        (
            {"config_store": {"username": "u", "password_file": "/p"}},
            "config_store.password_file: folder takes no user and password",
        ),
        (
            {"model_store": {"trusted_keys": ["/k.pub"]}},
            "model_store.trusted_keys: this release does not check",
        ),
        ({"engine": {"device": "gpu"}}, "engine.device: 'gpu' is not a device"),
        ({"update": {"gate_seconds": float("nan")}}, "update.gate_seconds: "),
        ({"update": {"probation": {"seconds": -1}}}, "update.probation.seconds: "),
        ({"pipelines": [{**LINE, "source": {"url": "gopher://x"}}]}, "pipelines[0].source.url: gopher://"),
        (
            {"pipelines": [{**LINE, "source": {"url": 0}}]},
            "pipelines[0].source.url: 0 is wrong; allowed: text",
        ),
        ({"pipelines": [LINE, LINE]}, "pipelines[1].name: 'line-1' is taken"),
        (
            {"api": {"path_prefix": "line7"}},
            "api.path_prefix: 'line7' is not a path; allowed: such as /line7",
        ),
        ({"api": {"path_prefix": "/a/../b"}}, "api.path_prefix: '/a/../b' is not a path"),
        ({"api": {"path_prefix": "/a?b"}}, "api.path_prefix: '/a?b' is not a path"),
        ({"api": {"path_prefix": "//evil"}}, "api.path_prefix: '//evil' is not a path"),
        ({"api": {"path_prefix": "/api/x"}}, "api.path_prefix: '/api/x' begins like a path of the API"),
        (
            {"log": {"level": "loud"}},
            "log.level: 'loud' is wrong; allowed: 'debug', 'info', 'warning' or 'error'",
        ),
    ],
)
def test_one_mistake_is_one_line(doc: object, start: str) -> None:
    """A single mistake gives a single problem that names its place."""
    (found,) = problems(doc)
    assert found.startswith(start)
    assert "allowed: " in found
    assert "\n" not in found


def test_a_token_opens_other_addresses() -> None:
    """With a token file, and only then, any address is allowed; loopback always is."""
    assert parse_config({"api": {"host": "0.0.0.0", "token_file": "/t"}}).api.host == "0.0.0.0"
    for host in ("localhost", "127.0.0.9", "::1"):
        assert parse_config({"api": {"host": host}}).api.host == host


def test_variables_override() -> None:
    """`EDGEAGENT_` variables reach every level, lists too; the caller's document stays as it is."""
    doc: dict[str, Any] = {"pipelines": [LINE], "api": {"port": 1}}
    config = parse_config(
        doc,
        environ={
            "EDGEAGENT_API__PORT": "9000",
            "EDGEAGENT_NODE__ID": "007",
            "EDGEAGENT_NODE__LABELS": "{line: a}",
            "EDGEAGENT_UPDATE__PROBATION__SECONDS": "5",
            "EDGEAGENT_PIPELINES__0__SOURCE__LOOP": "true",
            "EDGEAGENT_PIPELINES__1__NAME": "line-2",
            "EDGEAGENT_PIPELINES__1__MODEL": "yolo",
            "EDGEAGENT_PIPELINES__1__SOURCE__URL": "/videos",
            "EDGEAGENT_TOKEN_FILE": "/not/a/setting",
            "OTHER_API__PORT": "1",
        },
    )
    assert config.api.port == 9000
    assert config.node.id == "007"
    assert config.node.labels == {"line": "a"}
    assert config.update.probation.seconds == 5
    assert [p.source.loop for p in config.pipelines] == [True, False]
    assert doc == {"pipelines": [LINE], "api": {"port": 1}}


@pytest.mark.parametrize(
    ("variable", "value", "start"),
    [
        ("EDGEAGENT_API_PORT", "1", "EDGEAGENT_API_PORT: is not known; did you mean EDGEAGENT_API__PORT?"),
        ("EDGEAGENT_API__PORT__X", "1", "EDGEAGENT_API__PORT__X: api.port is a single value"),
        ("EDGEAGENT_PIPELINES__7__NAME", "x", "EDGEAGENT_PIPELINES__7__NAME: no element 7; allowed: 0 to 1"),
        ("EDGEAGENT_NODE__LABELS", "{a", "EDGEAGENT_NODE__LABELS: "),
        ("EDGEAGENT_NODE__LABELS", "{a: &a [*a]}", "EDGEAGENT_NODE__LABELS: line 1: *a stands within"),
        ("EDGEAGENT_API__PORT", "many", "api.port: 'many' is wrong; allowed: valid integer"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, start: str) -> None:
    """A variable that can't be used is a mistake like any other."""
    (found,) = problems({"api": {"port": 1}, "pipelines": [LINE]}, {variable: value})
    assert found.startswith(start)


def _bomb() -> bytes:
    """Ten lines of aliases, which stand for 10^11 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"node: {id: x\napi: 1\n", "line 2: broken YAML"),
        (b"node:\n\tid: x\n", "line 2: broken YAML"),
        (b"node: \xff\n", "is not UTF-8 (byte 6)"),
        (b"node: {id: !!python/object:os.system x}\n", "line 1: broken YAML"),
        (b"[" * 100_000, "broken YAML"),
        (b"a: \x07\n", "broken YAML"),
        (b"node: {}\nnode: {}\n", "line 2: node is given twice; allowed: once"),
        (b"#" * (1 << 21), "is larger than"),
        (b"api: 2026-99-99\n", "broken YAML"),
        (_bomb(), "line 4: *a2 and the aliases before it stand for more than 10000 values; allowed: "),
        (b"node: &a {labels: *a}\n", "line 1: *a stands within what it stands for; allowed: "),
        (b"node: *a\n", "line 1: broken YAML"),
    ],
)
def test_a_broken_file_is_one_clear_problem(tmp_path: Path, data: bytes, expected: str) -> None:
    """What is no YAML in UTF-8 is reported with its line where there is one."""
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert caught.value.problems[0].startswith(expected)
    assert "\n" not in str(caught.value)


def test_what_repeats_may_be_an_alias(tmp_path: Path) -> None:
    """As in any YAML, also merged into a mapping."""
    path = tmp_path / "c.yaml"
    path.write_text("""
pipelines:
  - &line {name: line-1, model: yolo, source: {url: /dev/video0}, sinks: &sinks [{type: log}]}
  - {<<: *line, name: line-2, source: {url: /dev/video1}}
  - {name: line-3, model: yolo, source: {url: /dev/video2}, sinks: *sinks}
""")
    lines = load_config(path, {}).pipelines
    assert [line.name for line in lines] == ["line-1", "line-2", "line-3"]
    assert all(line.sinks == [LogSinkConfig()] for line in lines)


def test_nobody_waits_for_a_pipe_to_say_something(tmp_path: Path) -> None:
    """As a configuration, and as a secret."""
    path = tmp_path / "c.yaml"
    os.mkfifo(path, 0o600)
    for read in (lambda: load_config(path, {}), lambda: read_secret(path)):
        with pytest.raises(UsageError, match=r"can't be read \(it is a FIFO, not a file\)"):
            read()


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(UsageError, match=r"nope\.yaml: can't be read \(No such file"):
        load_config(tmp_path / "nope.yaml", {})


@pytest.mark.parametrize(
    ("url", "live"),
    [
        ("rtsp://camera/1", True),
        ("http://camera/mjpg", True),
        ("/dev/video0", True),
        ("synthetic://conveyor?seed=1&fps=30&width=640&height=360", True),
        ("/videos/a.mp4", False),
        ("file:///videos", False),
        ("images", False),
    ],
)
def test_live_by_kind_of_source(url: str, live: bool) -> None:
    """Cameras and streams drop frames, files do not, unless the configuration says so."""
    assert default_live(url) is live
    assert SourceConfig(url=url).is_live is live
    assert SourceConfig(url=url, live=not live).is_live is not live


def test_secret_file(tmp_path: Path) -> None:
    """A secret is one line of a file that only its owner (and group) can read."""
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    path.chmod(0o640)
    assert read_secret(path) == "s3cret"
    for mode in (0o644, 0o660, 0o602):
        path.chmod(mode)
        with pytest.raises(UsageError, match="open to others"):
            read_secret(path)


@pytest.mark.parametrize("data", [b"", b"\n", b"a\nb\n", b"\xff", b"x" * 5000])
def test_a_secret_that_is_none(tmp_path: Path, data: bytes) -> None:
    """Empty, long, several lines, not ASCII: refused without showing the content."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read_secret(path)
    assert "xxxx" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_the_shipped_configurations_are_right(path: Path) -> None:
    """Each file under configs/ passes the check."""
    load_config(path, {})


def test_the_commented_configuration_has_every_field() -> None:
    """configs/edgeagent.yaml shows each field, at its default where it is not an example."""
    shown = load_config(ROOT / "configs" / "edgeagent.yaml", {"EDGEAGENT_NODE__ID": Config().node.id})
    text = (ROOT / "configs" / "edgeagent.yaml").read_text()
    names = [name for model in (Config, *(row.config for row in BUILT_IN)) for name in _field_names(model)]
    missing = [name for name in names if f"{name}:" not in text]
    assert not missing
    for section in ("config_store", "model_store", "engine", "update", "alarms", "api", "log"):
        assert getattr(shown, section) == getattr(Config(), section), section
    assert os.fspath(shown.node.state_dir) == "/var/lib/edgeagent"


def _field_names(model: type[Any]) -> list[str]:
    from edgeagent.config.load import _models

    names = []
    for name, field in model.model_fields.items():
        names.append(name)
        for below in _models(field.annotation):
            names += _field_names(below)
    return names


def test_a_name_that_is_that_of_a_field() -> None:
    """A hook may be called like one of its own fields: its mistakes are said like any other's."""
    found = problems({"api": {"hooks": {"model": {"style": "github", "colour": "red"}}}})
    assert any("api.hooks.model.colour" in line for line in found)
