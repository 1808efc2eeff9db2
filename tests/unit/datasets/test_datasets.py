# SPDX-License-Identifier: AGPL-3.0-or-later
"""Data sets on a disk: where pictures and labels are found, and what is refused with which words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from edgeagent.core.model import MAX_FILES
from edgeagent.datasets.files import MAX_TEXT_BYTES, read_yaml
from edgeagent.datasets.labelled import LabelledSet, check_names, read_set
from edgeagent.datasets.layout import layout_of, published_layout
from edgeagent.datasets.pictures import read_picture
from edgeagent.datasets.publishable import MAX_PUBLISHED, check_pictures, publishable
from edgeagent.errors import UsageError
from tests.support.golden import golden_set, labels, write_picture
from tests.support.weights import NAMES


def read(data: Path, names: tuple[str, ...] = NAMES, most: int = 0) -> LabelledSet:
    """The set with its labels."""
    return read_set(layout_of(data), names, most)


def describe(folder: Path, **values: object) -> Path:
    """Write its data.yaml."""
    (folder / "data.yaml").write_text(yaml.safe_dump({"names": list(NAMES), **values}))
    return folder / "data.yaml"


# -- where things lie --------------------------------------------------------------------------------


def test_folder_without_a_description(tmp_path: Path) -> None:
    """images/ and labels/ side by side; the names are those of whoever asks."""
    found = read(golden_set(tmp_path, 3, 0, 2, names=None))
    assert [p.picture.name for p in found.pictures] == ["0000.png", "0001.png", "0002.png"]
    assert (found.names, found.shown, found.objects, found.unlabelled) == (NAMES, ("scratch", "label"), 6, 0)


@pytest.mark.parametrize("given", ["folder", "file"])
def test_description_names_folders_as_ultralytics_has_it(tmp_path: Path, given: str) -> None:
    """`path`, then the split, relative to it; labels where /labels/ takes the place of /images/."""
    write_picture(tmp_path / "set/images/val/day/a.png")
    (tmp_path / "set/labels/val/day").mkdir(parents=True)
    (tmp_path / "set/labels/val/day/a.txt").write_text(labels(1))
    write_picture(tmp_path / "set/images/train/b.png")
    description = describe(tmp_path, path="set", train="images/train", val="images/val")
    found = read(tmp_path if given == "folder" else description)
    assert [(p.picture.name, len(p.labels)) for p in found.pictures] == [("day/a.png", 1)]


def test_path_of_another_machine_is_that_of_the_description(tmp_path: Path) -> None:
    """Sets are carried about, and say where they once lay."""
    golden_set(tmp_path, 2)
    assert len(read(describe(tmp_path, path="/nowhere/else", val="images")).pictures) == 2


def test_several_folders_and_lists_of_pictures(tmp_path: Path) -> None:
    """Pictures of one name in two folders are told apart; a list is relative to where it lies."""
    golden_set(tmp_path / "a", 1)
    golden_set(tmp_path / "b", 1)
    (tmp_path / "list.txt").write_text("./a/images/0000.png\n\n")
    found = read(describe(tmp_path, val=["a/images", "b/images", "list.txt"]))
    assert [p.picture.name for p in found.pictures] == ["0/0000.png", "1/0000.png", "2/a/images/0000.png"]
    assert found.objects == 3


def test_picture_without_a_label_file_shows_nothing(tmp_path: Path) -> None:
    """As ultralytics has it: a background."""
    golden_set(tmp_path, 2)
    (tmp_path / "labels/0001.txt").unlink()
    found = read(tmp_path)
    assert ([len(p.labels) for p in found.pictures], found.unlabelled) == ([1, 0], 1)


def test_digest_changes_with_any_file(tmp_path: Path) -> None:
    """What was measured on a set holds as long as the set is the same."""
    golden_set(tmp_path, 2)
    before = layout_of(tmp_path).digest
    assert layout_of(tmp_path).digest == before
    (tmp_path / "labels/0000.txt").write_text(labels(1))
    os.utime(tmp_path / "labels/0000.txt", ns=(1, 1))
    assert layout_of(tmp_path).digest != before


def test_sample_is_always_the_same_and_keeps_what_must_be_found(tmp_path: Path) -> None:
    """Of a large set; not the pictures that come first."""
    golden_set(tmp_path, 40)
    (tmp_path / "must_find.yaml").write_text("- {picture: 0033.png, class: scratch}")
    found = read(tmp_path, most=10)
    names = [p.picture.name for p in found.pictures]
    assert names == [p.picture.name for p in read(tmp_path, most=10).pictures]
    assert (len(names), found.of, "0033.png" in names) == (10, 40, True)
    assert names != [f"{n:04}.png" for n in range(10)]


# -- what must be found ------------------------------------------------------------------------------


def test_must_find_names_a_label(tmp_path: Path) -> None:
    """By picture and class, and by a box where there are several."""
    golden_set(tmp_path, 2, 0, 1)
    (tmp_path / "labels/0001.txt").write_text(labels(0) + labels(0, box=(0.2, 0.2, 0.1, 0.1)))
    (tmp_path / "must_find.yaml").write_text(
        "- {picture: images/0000.png, class: dent}\n"
        "- {picture: 0001.png, class: scratch, box: [0.21, 0.2, 0.1, 0.1], name: the small one}\n"
    )
    first, second = read(tmp_path).pictures
    assert (first.must, second.must) == ({1: "object 1 of must_find.yaml"}, {1: "the small one"})


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("{picture: 9.png, class: dent}", "'9.png' is no picture of the set"),
        ("{picture: 0000.png, class: dent}", "0 objects of class 'dent' are labelled in 0000.png; label it"),
        ("{picture: 0000.png, class: scratch}", "2 objects of class 'scratch' .* say which"),
        ("{picture: 0000.png, class: scratch, box: [0.9, 0.9, 0.1, 0.1]}", "lies where its box is"),
    ],
)
def test_must_find_that_is_nowhere(tmp_path: Path, entry: str, why: str) -> None:
    """Never silently left out."""
    golden_set(tmp_path, 1)
    (tmp_path / "labels/0000.txt").write_text(labels(0) + labels(0, box=(0.2, 0.2, 0.1, 0.1)))
    (tmp_path / "must_find.yaml").write_text(f"- {entry}")
    with pytest.raises(UsageError, match=f"must_find.yaml .*entry 1: .*{why}"):
        read(tmp_path)


def test_more_must_be_found_than_pictures_are_taken(tmp_path: Path) -> None:
    """That is said, and not that a picture isn't there."""
    golden_set(tmp_path, 40)
    entries = [f"- {{picture: {n:04}.png, class: scratch}}\n" for n in range(12)]
    (tmp_path / "must_find.yaml").write_text("".join(entries))
    with pytest.raises(
        UsageError, match=r"objects on 12 pictures, and max_pictures is 10.*max_pictures to 12"
    ):
        read(tmp_path, most=10)
    assert len(read(tmp_path, most=12).pictures) == 12


# -- what is wrong -----------------------------------------------------------------------------------


def _without_labels_folder(folder: Path) -> Path:
    write_picture(folder / "images/a.png")
    return folder


def _without_label_files(folder: Path) -> Path:
    (folder / "labels").mkdir()
    return _without_labels_folder(folder)


def _fifo(folder: Path) -> Path:
    golden_set(folder, 1)
    os.mkfifo(folder / "labels/0001.txt")
    write_picture(folder / "images/0001.png")
    return folder


def _link_out(folder: Path) -> Path:
    golden_set(folder, 1)
    (folder / "labels/0000.txt").unlink()
    (folder / "labels/0000.txt").symlink_to("/etc/passwd")
    return folder


def _linked_folder(folder: Path) -> Path:
    golden_set(folder, 1)
    (folder / "images/more").symlink_to("/etc")
    return folder


def _huge_label_file(folder: Path) -> Path:
    golden_set(folder, 1)
    with (folder / "labels/0000.txt").open("wb") as stream:
        stream.truncate(MAX_TEXT_BYTES + 1)
    return folder


def _aliases(folder: Path) -> Path:
    golden_set(folder, 1)
    (folder / "data.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nval: images\n")
    return folder


def _python_object(folder: Path) -> Path:
    golden_set(folder, 1)
    (folder / "data.yaml").write_text("val: !!python/object/apply:os.system [touch hacked]\n")
    return folder


def _binary_description(folder: Path) -> Path:
    golden_set(folder, 1)
    (folder / "data.yaml").write_bytes(b"\xff\xfe\x00")
    return folder


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder / "nowhere", "is not there; give a data.yaml"),
        (lambda folder: folder, "has neither data.yaml nor images/"),
        (_without_labels_folder, "has no labels/: without labels nothing tells what is to be found"),
        (_without_label_files, "has no labels: no picture has a label file"),
        (lambda folder: golden_set(folder, 2, text=""), "has no labels: all are empty"),
        (
            lambda folder: golden_set(folder, 2, 3),
            "has class 3, and .* has 3 names: 'scratch', 'dent', 'label'",
        ),
        (lambda folder: golden_set(folder, 1, text="0 0.5 2 1 1"), "label file .*0000.txt: line 1"),
        (lambda folder: golden_set(folder, 0), "names 'images', which is not in"),
        (_fifo, "0001.txt: it is a FIFO, not a file"),
        (_link_out, "0000.txt: is a link that leads out of"),
        (_linked_folder, "images/more: is a link that leads out of"),
        (_huge_label_file, "0000.txt: is larger than"),
        (_aliases, "has YAML aliases"),
        (_python_object, "data.yaml: line 1: broken YAML"),
        (_binary_description, "data.yaml: is not UTF-8"),
    ],
)
def test_wrong_set_is_refused_with_what_is_wrong(
    tmp_path: Path, make: Callable[[Path], Path], why: str
) -> None:
    """What, why, and what to do."""
    with pytest.raises(UsageError, match=why):
        read(make(tmp_path))


def test_classes_that_a_version_does_not_know_are_an_error_that_names_both(tmp_path: Path) -> None:
    """The order is of no importance."""
    found = read(golden_set(tmp_path, 1, 1))
    check_names(found, ("label", "dent"), "the version")
    with pytest.raises(UsageError) as caught:
        check_names(found, ("hole", "scratch"), "the version")
    assert "shows 'dent', which the version doesn't know" in str(caught.value)
    assert "the set names 'scratch', 'dent', 'label', the version 'hole', 'scratch'" in str(caught.value)


def test_pictures_that_do_not_open(tmp_path: Path) -> None:
    """Text with the name of a picture, one that stands for gigabytes, and none at all."""
    (tmp_path / "a.png").write_text("no picture")
    write_picture(tmp_path / "b.png")
    data = bytearray((tmp_path / "b.png").read_bytes())
    data[16:24] = (60_000).to_bytes(4) * 2
    (tmp_path / "b.png").write_bytes(data)
    for name, why in (
        ("a.png", "can't be opened"),
        ("b.png", "3600000000|more than"),
        ("c.png", "No such file"),
    ):
        with pytest.raises(UsageError, match=why):
            read_picture(tmp_path / name)


def test_yaml_of_any_depth_is_no_crash(tmp_path: Path) -> None:
    """However deep a stranger nests."""
    path = tmp_path / "data.yaml"
    path.write_text("[" * 100_000)
    with pytest.raises(UsageError, match="broken YAML"):
        read_yaml(path)


# -- to publish --------------------------------------------------------------------------------------


def test_what_is_published_is_found_again(tmp_path: Path) -> None:
    """The same pictures, labels, names and objects that must be found, from nothing but files by path."""
    golden_set(tmp_path / "set/a", 2, 1)
    golden_set(tmp_path / "set/b", 1, 0, 2)
    (tmp_path / "set/b/labels/0000.txt").write_text("")
    description = describe(tmp_path / "set", val=["a/images", "b/images"])
    (tmp_path / "set/must_find.yaml").write_text("- {picture: 0/0001.png, class: dent, name: deep}")
    before = read(description)
    check_pictures(before, lambda done, total: None)
    (tmp_path / "new").mkdir()
    files = publishable(before, tmp_path / "new")
    layout = published_layout(files, "yolo/v1")
    assert layout is not None
    after = read_set(layout, ())
    assert after.names == before.names
    assert [(p.picture.name, p.labels, p.must) for p in after.pictures] == [
        (p.picture.name, p.labels, p.must) for p in before.pictures
    ]
    assert len(files) == 3 + 2 + 2  # an empty label file isn't published


def test_pictures_without_a_description_are_no_set() -> None:
    """As an earlier release published them."""
    assert published_layout({"a.png": Path("a.png")}, "yolo/v1") is None


def test_a_set_too_large_to_travel_is_refused_with_what_it_would_take(tmp_path: Path) -> None:
    """And where it can lie instead."""
    write_picture(tmp_path / "images/0.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/0.txt").write_text(labels(0))
    for n in range(1, MAX_PUBLISHED + 1):
        os.link(tmp_path / "images/0.png", tmp_path / f"images/{n}.png")
    with pytest.raises(UsageError, match=r"holds 1001 pictures of \d+ MB.*at most 1000.*update.golden"):
        publishable(read(tmp_path), tmp_path)


def test_largest_set_fits_beside_its_networks() -> None:
    """Pictures, labels, what describes them, and every format with what belongs to it."""
    assert 2 * MAX_PUBLISHED + 2 + 16 <= MAX_FILES
