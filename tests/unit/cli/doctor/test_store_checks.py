# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mistakes about config store, model store, clock and runtimes that `doctor` finds, with servers that only pretend."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.doctor import clock, config_store, etcd_address, reach, runtimes
from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import failure, remedy
from edgeagent.cli.doctor.reach import Answer
from edgeagent.core.model import Contract, Manifest, WeightFile
from edgeagent.core.store_documents import Withdrawal, encode
from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent.port import Connection, Entry
from tests.support.examinations import NOW, an_examination, found, only
from tests.support.memory_store import MemoryStore

ETCD = {"url": "etcd://etcd.lan:2379"}


class Etcd(MemoryStore):
    """A store that is read as an etcd is. why: what it says instead of an answer; warns: what it says beside it;
    refuses: keys that its user may not read or write."""

    url = "etcd://etcd.lan:2379"

    def __init__(self) -> None:
        super().__init__()
        self.why = self.warns = self.advises = ""
        self.refuses: tuple[str, ...] = ()

    def watch(self, keys: Sequence[str], on_entry: Any, on_connection: Any) -> Any:
        if self.why:
            on_connection(Connection(False, self.why))
        else:
            on_connection(Connection(True, self.warns))
            for key in keys:
                on_entry(super().get(key))
        return self

    def get(self, key: str) -> Entry:
        self._may(key)
        return super().get(key)

    def compare_and_set(self, expected: Any, writes: Any, lease: Any = None) -> Any:
        for key in writes:
            self._may(key)
        return super().compare_and_set(expected, writes, lease)

    def _may(self, key: str) -> None:
        if key in self.refuses:
            raise UsageError(key, "etcdserver: permission denied")

    def advice(self) -> str:
        """What its operator should see to."""
        return self.advises


@pytest.fixture
def etcd(monkeypatch: pytest.MonkeyPatch) -> Etcd:
    """The one that is opened; nobody listens at its address."""
    store = Etcd()
    monkeypatch.setattr(config_store, "open_source", lambda url, access: store)
    monkeypatch.setattr(etcd_address, "why_not", lambda endpoints, has_tls: None)
    monkeypatch.setattr(etcd_address, "is_for_peers", lambda endpoint, has_tls: False)
    return store


@pytest.fixture
def x(tmp_path: Path) -> Examination:
    """On an etcd."""
    return an_examination(tmp_path, config_store=ETCD)


def test_a_key_that_says_nothing(etcd: Etcd, x: Examination) -> None:
    """The others are read even so."""
    etcd.put("/models/yolo/current", b"../v1")
    assert "/models/yolo/current" in only(x, "config-store").text
    etcd.put("/models/yolo/current", b"v1")
    assert found(x, "config-store") == []
    assert x.intents["yolo"].version == "v1"


def test_no_key_at_all(etcd: Etcd, x: Examination) -> None:
    """What to type."""
    assert "edgeagent promote yolo VERSION" in only(x, "config-store").todo


def test_a_full_etcd(etcd: Etcd, x: Examination) -> None:
    """It can be read, and takes no writing."""
    etcd.put("/models/yolo/current", b"v1")
    etcd.warns = "etcd's database is full (alarm NOSPACE); compact and defragment it"
    finding = only(x, "config-store")
    assert ("NOSPACE" in finding.text, finding.todo) == (True, "compact and defragment it")


def test_a_history_that_is_never_compacted(etcd: Etcd, x: Examination) -> None:
    """What the adapter advises."""
    etcd.put("/models/yolo/current", b"v1")
    etcd.advises = "it keeps all of its 5000 revisions. Start etcd with --auto-compaction-mode=periodic"
    assert only(x, "config-store").todo.startswith("Start etcd with")


def test_keys_that_the_user_may_not_read(etcd: Etcd, x: Examination) -> None:
    """They are named, for etcd doesn't."""
    etcd.why = "etcdserver: permission denied"
    etcd.refuses = ("/edgeagent/coordinator",)
    finding = only(x, "config-store")
    assert "(reading /edgeagent/coordinator)" in finding.text
    assert "roles.sh" in finding.todo


def test_keys_that_the_user_may_not_write(etcd: Etcd, x: Examination) -> None:
    """Found out by transactions that write nothing."""
    etcd.put("/models/yolo/current", b"v1")
    before = etcd.keys()
    etcd.refuses = ("/edgeagent/nodes/press-12",)
    assert "may not write /edgeagent/nodes/press-12" in only(x, "config-store").text
    assert etcd.keys() == before


@pytest.mark.parametrize(
    ("why", "todo"),
    [
        ("etcdserver: user name is empty", "set username and password_file"),
        ("etcdserver: authentication failed, invalid user ID or password", "user or password is wrong"),
    ],
)
def test_users_and_passwords(etcd: Etcd, x: Examination, why: str, todo: str) -> None:
    """By what etcd says."""
    etcd.why = why
    assert todo in only(x, "config-store").todo


def test_one_line_for_all_models(etcd: Etcd, tmp_path: Path) -> None:
    """A store that is away is said once."""
    etcd.why = "Connection refused"
    line = {"source": {"url": "synthetic://conveyor"}}
    pipelines = [{"name": f"l{n}", "model": f"m{n}", **line} for n in range(3)]
    assert (
        only(an_examination(tmp_path, config_store=ETCD, pipelines=pipelines), "config-store").level == "FAIL"
    )


class Listener:
    """What listens at an address. error: of the connection; tls: whether it speaks it; answers: by path."""

    def __init__(self, error: OSError | None = None, tls: bool = False, **answers: Answer) -> None:
        self.error, self.tls = error, tls
        self.answers = {f"/{path}": answer for path, answer in answers.items()}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """At every address."""
        monkeypatch.setattr(reach, "no_connection", lambda host, port: self.error)
        monkeypatch.setattr(reach, "speaks_tls", lambda host, port: self.tls)
        monkeypatch.setattr(reach, "ask", lambda host, port, path, tls=False: self.answers.get(path))


VERSION = Answer(200, b'{"etcdserver": "3.4.23", "etcdcluster": "3.4.0"}', NOW)


@pytest.mark.parametrize(
    ("listener", "has_tls", "says"),
    [
        (Listener(socket.gaierror(-2, "Name or service not known")), False, "the name is not known"),
        (Listener(ConnectionRefusedError()), False, "nobody listens there"),
        (Listener(TimeoutError()), False, "no answer at all"),
        (Listener(OSError(113, "No route to host")), False, "No route to host"),
        (Listener(tls=True), False, "it speaks TLS"),
        (Listener(version=VERSION), True, "it speaks no TLS"),
        (Listener(), False, "is no etcd"),
        (Listener(version=Answer(200, b"<html>", NOW)), False, "is no etcd"),
        (Listener(version=VERSION, members=Answer(404, b"", NOW)), False, None),
    ],
)
def test_what_listens_in_place_of_etcd(
    monkeypatch: pytest.MonkeyPatch, listener: Listener, has_tls: bool, says: str | None
) -> None:
    """Wrong name, wrong port, TLS on one side only: what the client calls a failed connection each time."""
    listener.install(monkeypatch)
    found = etcd_address.why_not(["etcd.lan:2379"], has_tls)
    assert (found is None) if says is None else (found and says in found[0] and found[1])


def test_a_version_that_is_not_there_or_withdrawn(etcd: Etcd, tmp_path: Path) -> None:
    """What there is in its place is named; a store that isn't there is no version's fault."""
    x = an_examination(tmp_path, config_store=ETCD)
    etcd.put("/models/yolo/current", b"v9")
    found(x, "config-store")
    assert "it is not there" in only(x, "model-store").text
    folder = tmp_path / "store" / "yolo" / "v1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(a_manifest("onnx", "v1").to_json())
    assert only(x, "model-store").todo.endswith("the store has v1")
    etcd.put("/models/yolo/current", b"v1")
    x.intents.clear()
    found(x, "config-store")
    assert found(x, "model-store") == []
    assert x.manifests["yolo"].version == "v1"
    (tmp_path / "store" / "yolo" / "_withdrawn").mkdir()
    (tmp_path / "store" / "yolo" / "_withdrawn" / "v1.json").write_bytes(
        encode(Withdrawal("blind", "anna", "2026-01-01T00:00:00Z"))
    )
    assert "blind" in only(x, "model-store").text


def test_an_empty_store(tmp_path: Path) -> None:
    """How to fill it."""
    (tmp_path / "store" / "yolo").mkdir(parents=True)
    assert only(an_examination(tmp_path), "model-store").todo.startswith("edgeagent publish")


@pytest.mark.parametrize(
    ("why", "todo"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired", "renew it"),
        ("certificate is not yet valid (_ssl.c:1006)", "this machine's clock"),
        ("certificate verify failed: self-signed certificate in certificate chain", "ca_file"),
        ("Hostname mismatch, certificate is not valid for 'etcd'", "the name that the certificate has"),
        ("NoCredentialsError: Unable to locate credentials", "AWS_ACCESS_KEY_ID"),
        ("EndpointConnectionError: Could not connect to the endpoint URL", "endpoint_url"),
        ("RuntimeError: operator torchvision::nms does not exist", "torch torchvision"),
    ],
)
def test_what_libraries_say(why: str, todo: str) -> None:
    """The remedy is in no library's words."""
    assert todo in failure("model store", UnavailableError("x", why, "it is tried again later")).todo
    assert remedy("anything else") == ""


@pytest.mark.parametrize(("off", "level"), [(0.0, None), (-4.0, None), (60.0, "warn"), (-4000.0, "FAIL")])
def test_a_clock_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: float, level: str | None
) -> None:
    """By that of etcd; else by the store's."""
    monkeypatch.setattr(clock.reach, "ask", lambda host, port, path, tls=False: Answer(200, b"", NOW - off))
    for sections in ({"config_store": ETCD}, {"model_store": {"url": "https://store.lan/models"}}):
        assert [f.level for f in found(an_examination(tmp_path, **sections), "clock")] == (
            [level] if level else []
        )


def test_a_clock_that_stands_at_its_beginning(tmp_path: Path) -> None:
    """Nobody tells the time, and it can't be right."""
    x = an_examination(tmp_path, {"now": lambda: 86_400.0})
    assert "1970" in only(x, "clock").text


def a_manifest(fmt: str, version: str = "v1") -> Manifest:
    """Of weights in this format."""
    contract = Contract("detect", ("a",), (320, 320), 32)
    return Manifest("yolo", version, 1, "now", contract, (WeightFile(f"w.{fmt}", "0" * 64, 1, fmt),))


def test_weights_that_nothing_here_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .pt without torch, also where other runtimes work."""
    monkeypatch.setattr(runtimes, "variants", lambda *_: [type("Way", (), {"backend": "torch"})()])
    x = an_examination(tmp_path)
    x.manifests["yolo"], x.works = a_manifest("pt"), {"onnxruntime"}
    assert "weights in pt" in only(x, "weights").text
    x.works = {"torch"}
    assert found(x, "weights") == []


def test_a_gpu_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its driver."""
    monkeypatch.setattr(runtimes, "has_cuda", lambda: False)
    assert "nvidia-smi" in only(an_examination(tmp_path, engine={"device": "cuda:0"}), "gpu").todo
