# SPDX-License-Identifier: AGPL-3.0-or-later
"""Publishing into a folder: what is written, in which order, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeagent.core.model import MAX_FILES, Contract, parse_manifest
from edgeagent.errors import ConflictError, EdgeAgentError, UnavailableError, UsageError
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.store.publish import publish
from edgeagent.store.remote import RemoteStore

METADATA = ModelMetadata(Contract("detect", ("scratch", "dent"), (320, 320), 32), "onnx")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file to publish."""
    path = tmp_path / "best.onnx"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where to; not yet there."""
    return tmp_path / "srv" / "store"


def test_manifest_describes_what_is_there(weights: Path, store: Path, tmp_path: Path) -> None:
    """Facts, hashes and the golden set; the files lie where the manifest says."""
    golden = tmp_path / "golden"
    (golden / "day").mkdir(parents=True)
    (golden / "day/a b.png").write_bytes(b"picture")
    (golden / ".hidden").write_bytes(b"not this")
    manifest = publish(
        weights,
        "yolo",
        "v1",
        str(store),
        metadata=METADATA,
        golden=golden,
        note="first",
        metrics={"mAP50": 0.5},
        source={"commit": "abc"},
        created="2026-01-31T12:00:00Z",
    )
    assert parse_manifest((store / "yolo/v1/manifest.json").read_bytes(), "yolo", "v1") == manifest
    assert manifest.contract == METADATA.contract
    assert (manifest.sequence, manifest.note, manifest.created) == (1, "first", "2026-01-31T12:00:00Z")
    first, picture = manifest.files
    assert manifest.weights == first
    assert manifest.golden == (picture.path,)
    assert picture.path.endswith("/day/a b.png")
    assert (store / "yolo/v1" / first.path).read_bytes() == b"weights"
    assert (store / "yolo/v1" / picture.path).read_bytes() == b"picture"


def metadata_of(fmt: str, **contract: object) -> ModelMetadata:
    """Of the network of FACTS in another format."""
    return replace(METADATA, format=fmt, contract=replace(METADATA.contract, **contract))  # type: ignore[arg-type]


def test_ready_files_are_published_behind_the_source(weights: Path, store: Path, tmp_path: Path) -> None:
    """With what belongs to an OpenVINO graph; the contract is the source's, and the digest covers them."""
    folder = tmp_path / "best_openvino_model"
    folder.mkdir()
    for name in ("best.xml", "best.bin", "metadata.yaml"):
        (folder / name).write_text(name)
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(b"checkpoint")
    alternates = [
        (folder / "best.xml", metadata_of("openvino")),
        (weights, metadata_of("onnx", imgsz=(192, 320))),
    ]
    manifest = publish(
        checkpoint, "yolo", "v1", str(store), metadata=metadata_of("pt"), alternates=alternates
    )
    assert parse_manifest((store / "yolo/v1/manifest.json").read_bytes(), "yolo", "v1") == manifest
    assert [f.format for f in manifest.files] == ["pt", "openvino", "openvino-bin", "metadata", "onnx"]
    assert manifest.weights.format == "pt"
    assert [f.format for f in manifest.alternates] == ["openvino", "onnx"]
    assert manifest.contract == METADATA.contract
    assert (store / "yolo/v1" / manifest.alternates[1].path).read_bytes() == b"weights"
    alone = publish(checkpoint, "yolo", "v2", str(store), metadata=metadata_of("pt"))
    assert alone.digest != manifest.digest


def test_network_is_not_taken_for_a_golden_file_by_its_name(store: Path, tmp_path: Path) -> None:
    """Golden is what lies in the folder, not what is called so."""
    source, alternates = tmp_path / "golden-best.pt", tmp_path / "golden-best.onnx"
    for path in (source, alternates):
        path.write_bytes(b"weights")
    manifest = publish(
        source,
        "yolo",
        "v1",
        str(store),
        metadata=metadata_of("pt"),
        alternates=[(alternates, metadata_of("onnx"))],
    )
    assert manifest.golden == ()
    assert [f.format for f in manifest.alternates] == ["onnx"]


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (metadata_of("pt"), "in the same format as .*best.onnx: pt"),
        (
            metadata_of("openvino", names=("dent", "scratch")),
            r"names \('dent', 'scratch'\), not \('scratch', 'dent'\) as in .*best",
        ),
        (metadata_of("openvino", stride=16), "stride 16, not 32 as in"),
        (metadata_of("openvino", task="segment"), "task 'segment', not 'detect' as in"),
        (metadata_of("engine"), "format 'engine'; use one of"),
    ],
)
def test_ready_file_that_does_not_go_with_the_source(
    weights: Path, store: Path, tmp_path: Path, metadata: ModelMetadata, why: str
) -> None:
    """Refused by its name, before anything is written."""
    other = tmp_path / "other.bin"
    other.write_bytes(b"x")
    with pytest.raises(UsageError, match=rf"other\.bin: {why}"):
        publish(weights, "yolo", "v1", str(store), metadata=metadata_of("pt"), alternates=[(other, metadata)])
    assert not (store / "yolo").exists()


def test_sequence_grows(weights: Path, store: Path) -> None:
    """By one over the highest there, whatever the names; a broken version does not stop it."""
    assert publish(weights, "yolo", "v9", str(store), metadata=METADATA).sequence == 1
    assert publish(weights, "yolo", "v10", str(store), metadata=METADATA).sequence == 2
    (store / "yolo/v9/manifest.json").write_text("broken")
    assert publish(weights, "yolo", "a", str(store), metadata=METADATA).sequence == 3
    assert publish(weights, "other", "v1", str(store), metadata=METADATA).sequence == 1


def test_published_version_is_never_overwritten(weights: Path, store: Path) -> None:
    """Not even with the same content; nothing in the store changes."""
    publish(weights, "yolo", "v1", str(store), metadata=METADATA)
    before = {p: p.read_bytes() for p in store.rglob("*") if p.is_file()}
    weights.write_bytes(b"other weights")
    with pytest.raises(ConflictError, match=r"version yolo/v1: exists already.*new version name"):
        publish(weights, "yolo", "v1", str(store), metadata=METADATA)
    assert {p: p.read_bytes() for p in store.rglob("*") if p.is_file()} == before


def test_manifest_comes_last_and_a_half_publish_can_be_completed(
    weights: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher that dies before the manifest leaves no version; publishing again makes it one."""

    def dies(*_: object) -> None:
        raise UnavailableError("store", "gone")

    with monkeypatch.context() as m:
        m.setattr(RemoteStore, "put_manifest", dies)
        with pytest.raises(UnavailableError):
            publish(weights, "yolo", "v1", str(store), metadata=METADATA)
    assert list((store / "yolo/v1").iterdir())
    assert RemoteStore(str(store)).versions("yolo") == []
    weights.write_bytes(b"better weights")
    manifest = publish(weights, "yolo", "v1", str(store), metadata=METADATA)
    assert (store / "yolo/v1" / manifest.weights.path).read_bytes() == b"better weights"


def test_publisher_that_comes_second_harms_nothing(
    weights: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once, past the first check both: the one whose manifest came first wins, with its own weights."""
    other = tmp_path / "sub" / "best.onnx"
    other.parent.mkdir()
    other.write_bytes(b"other weights")
    put_file = RemoteStore.put_file

    def overtaken(self: RemoteStore, model: str, version: str, path: str, source: Path) -> None:
        put_file(self, model, version, path, source)
        monkeypatch.setattr(RemoteStore, "put_file", put_file)
        publish(other, "yolo", "v1", str(store), metadata=METADATA)

    monkeypatch.setattr(RemoteStore, "put_file", overtaken)
    with pytest.raises(ConflictError):
        publish(weights, "yolo", "v1", str(store), metadata=METADATA)
    manifest = parse_manifest((store / "yolo/v1/manifest.json").read_bytes(), "yolo", "v1")
    assert (store / "yolo/v1" / manifest.weights.path).read_bytes() == b"other weights"


def test_file_that_changes_while_it_is_published(
    weights: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that is still running: no version with a hash that nobody can meet."""
    put_file = RemoteStore.put_file

    def growing(self: RemoteStore, model: str, version: str, path: str, source: Path) -> None:
        put_file(self, model, version, path, source)
        source.write_bytes(b"weights and more")

    monkeypatch.setattr(RemoteStore, "put_file", growing)
    with pytest.raises(UsageError, match="changed while it was published"):
        publish(weights, "yolo", "v1", str(store), metadata=METADATA)
    assert RemoteStore(str(store)).versions("yolo") == []


@pytest.mark.parametrize("model", ["../x", "a/b", "", ".hidden"])
def test_unsafe_names(weights: Path, store: Path, model: str) -> None:
    """Refused before anything is written."""
    for args in ((model, "v1"), ("yolo", model)):
        with pytest.raises(UsageError):
            publish(weights, *args, str(store), metadata=METADATA)
    assert not store.exists()


def test_files_that_cannot_be_published(weights: Path, store: Path, tmp_path: Path) -> None:
    """Each refused as the operator's mistake, by name, and nothing becomes visible."""
    empty, golden = tmp_path / "empty.onnx", tmp_path / "golden"
    empty.touch()
    golden.mkdir()
    unreadable = replace(METADATA, contract=replace(METADATA.contract, names=()))

    def refused(path: Path, metadata: ModelMetadata = METADATA, golden: Path | None = None) -> str:
        with pytest.raises(UsageError) as e:
            publish(path, "yolo", "v1", str(store), metadata=metadata, golden=golden)
        return str(e.value)

    assert "No such file" in refused(tmp_path / "nothing.onnx")
    assert "is empty" in refused(empty)
    odd = weights.rename(tmp_path / "line:1.onnx")
    assert "line:1.onnx: its name holds ':'; rename it" in refused(odd)
    odd.rename(weights)
    assert "format" in refused(weights, metadata=replace(METADATA, format="pickle"))
    assert "names" in refused(weights, metadata=unreadable)
    assert "is neither a folder nor a data.yaml" in refused(weights, golden=weights)
    assert "holds 0 files" in refused(weights, golden=golden)
    for i in range(MAX_FILES):
        (golden / f"{i}.png").write_bytes(b"x")
    assert f"has {MAX_FILES} files" in refused(weights, golden=golden)
    assert RemoteStore(str(store)).versions("yolo") == []


def test_http_store_is_read_only(weights: Path) -> None:
    """Said at once, without a request."""
    with pytest.raises(UsageError, match="read-only"):
        publish(weights, "yolo", "v1", "http://127.0.0.1:1/store", metadata=METADATA)


def test_store_that_cannot_be_written(weights: Path, tmp_path: Path) -> None:
    """A file in the way: an error of ours, not a traceback."""
    with pytest.raises(EdgeAgentError, match=r"best\.onnx"):
        publish(weights, "yolo", "v1", f"{weights}/store", metadata=METADATA)
