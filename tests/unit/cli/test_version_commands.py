# SPDX-License-Identifier: AGPL-3.0-or-later
"""`versions`, `tag`, `untag` and `yank` on a store in a folder: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.main import main
from edgeagent.errors import ConflictError
from tests.support.published import publish_bytes


@pytest.fixture
def store(tmp_path: Path) -> str:
    """yolo/v1 and yolo/v2, published in this order."""
    folder = str(tmp_path / "store")
    for version in ("v2", "v1"):
        publish_bytes(folder, version, version.encode(), tmp_path)
    return folder


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """The exit code, and what is on stdout and stderr."""
    code = main(list(args))
    said = capsys.readouterr()
    return code, said.out, said.err


def listed(capsys: pytest.CaptureFixture[str], store: str) -> dict[str, dict[str, Any]]:
    """What `versions --json` says, by version, in its order."""
    code, out, _ = run(capsys, "versions", "yolo", "--store", store, "--json")
    assert code == 0
    return {release["version"]: release for release in json.loads(out)}


def test_versions_from_the_oldest_to_the_newest(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the order in which they were published; a table for people, all of it as JSON."""
    run(capsys, "tag", "yolo", "v1", "stable", "--store", store)
    found = listed(capsys, store)
    assert list(found) == ["v2", "v1"]
    one = found["v1"]
    assert (one["sequence"], one["tags"], one["withdrawn"], one["error"]) == (2, ["stable"], None, None)
    assert one["digest"].startswith("sha256:")
    assert one["metrics"] == {}
    code, out, err = run(capsys, "versions", "yolo", "--store", store)
    assert (code, err) == (0, "")
    first = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert [word for word in first if word.startswith("v")] == ["version", "v2", "v1"]
    assert run(capsys, "versions", "other", "--store", store)[:2] == (0, f"no versions of other in {store}\n")


def test_broken_versions_and_tags_are_shown_as_such(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They come first, and hide nothing of the others."""
    Path(store, "yolo/v1/manifest.json").write_text("{")
    Path(store, "yolo/v3").mkdir()
    Path(store, "yolo/_tags").mkdir()
    Path(store, "yolo/_tags/half.json").write_text("{")
    code, out, err = run(capsys, "versions", "yolo", "--store", store, "--json")
    assert code == 0
    assert "warning: tag half of yolo: it is not JSON" in err
    found = json.loads(out)
    assert [release["version"] for release in found] == ["v1", "v2"]
    assert "manifest of yolo/v1: is not JSON" in found[0]["error"]
    assert found[0]["digest"] is None
    assert "broken: manifest" in run(capsys, "versions", "yolo", "--store", store)[1]


def test_a_tag_is_put_moved_and_removed(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each says what it named before."""

    def tag(version: str) -> tuple[int, str, str]:
        return run(capsys, "tag", "yolo", version, "stable", "--store", store, "--by", "eve")

    assert tag("v1") == (0, "yolo@stable is v1 now\n", "")
    assert tag("v1") == (0, "yolo@stable is v1\n", "")
    assert tag("v2") == (0, "yolo@stable is v2 now (before: v1)\n", "")
    code, out, err = tag("v9")
    assert (code, out) == (1, "")
    assert err.startswith("error: version yolo/v9: not in the store")
    untag = ("untag", "yolo", "stable", "--store", store)
    assert run(capsys, *untag) == (0, "yolo@stable removed, it was v2\n", "")
    code, _, err = run(capsys, *untag)
    assert code == 1
    assert err.startswith("error: tag stable of yolo: not in the store")
    assert run(capsys, "tag", "yolo", "v1", "a/b", "--store", store)[0] == 2


def test_a_version_is_withdrawn_and_let_in_again(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With a reason, once, and with a word on the tags that still name it."""
    yank = ("yank", "yolo", "v1", "--store", store)
    run(capsys, "tag", "yolo", "v1", "stable", "--store", store)
    assert run(capsys, *yank)[0] == 2
    assert run(capsys, *yank, "--reason", " ")[2].startswith("error: --reason: it is missing")
    code, out, err = run(capsys, *yank, "--reason", "finds no dents", "--by", "eve")
    assert (code, out) == (
        0,
        "yolo/v1 withdrawn: no node takes it up any more, those that serve it go on\n",
    )
    assert err.startswith("warning: yolo@stable still names it")
    withdrawn = listed(capsys, store)["v1"]["withdrawn"]
    assert (withdrawn["reason"], withdrawn["by"]) == ("finds no dents", "eve")
    code, _, err = run(capsys, *yank, "--reason", "other")
    assert code == 1
    assert "is withdrawn already: finds no dents (eve, " in err
    code, out, _ = run(capsys, *yank, "--undo")
    assert code == 0
    assert "may be taken up again; it was withdrawn: finds no dents" in out
    assert listed(capsys, store)["v1"]["withdrawn"] is None
    assert run(capsys, *yank, "--undo")[0] == 1


def test_the_name_of_a_withdrawn_version_is_not_given_again(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when it was removed: whoever has it in a cache would not know that it is another."""
    run(capsys, "yank", "yolo", "v1", "--store", store, "--reason", "finds no dents")
    Path(store, "yolo/v1/manifest.json").unlink()
    with pytest.raises(ConflictError, match="yolo/v1: there was one, and it was withdrawn: finds no dents"):
        publish_bytes(store, "v1", b"other", tmp_path)
    Path(store, "yolo/_removed").mkdir()
    Path(store, "yolo/_removed/v5.json").write_text("{}")
    with pytest.raises(ConflictError, match="yolo/v5: there was one, and not all of its files are removed"):
        publish_bytes(store, "v5", b"other", tmp_path)
