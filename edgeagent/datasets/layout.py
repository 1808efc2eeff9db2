# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which pictures and labels a data set has, and where they lie: in a folder, or in a version from the store.

Paths are resolved as ultralytics resolves them: a data.yaml names folders or lists of pictures, relative to its `path`;
the labels of a picture lie where `/labels/` takes the place of the last `/images/` in its path. What is published, or
given as a folder without a data.yaml, has `images/` and `labels/` side by side.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeagent.core.yolo import Description, parse_description
from edgeagent.datasets.files import check_inside, read_text, read_yaml
from edgeagent.errors import UsageError

DESCRIPTION, MUST_FIND = "data.yaml", "must_find.yaml"
SUFFIXES = frozenset(("bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp"))
"""Of pictures, as OpenCV opens them on every machine."""
MAX_PICTURES = 100_000
"""Of a set: with more than that, looking through the folder alone takes too long."""
_TODO = "give a data.yaml of the YOLO layout, or a folder with images/ and labels/"


@dataclass(frozen=True)
class Picture:
    """One picture of a set. name: its path below the folder of pictures, which tells it from all others; labels: the
    file with its objects, None: there is none, so it shows none."""

    name: str
    path: Path
    labels: Path | None


@dataclass(frozen=True)
class Layout:
    """Where a set lies. where: for messages. names: of the classes by number, None where the set names none.
    pictures: by name. must_find: the file with the objects that must be found. digest: changes when any of its files
    does."""

    where: str
    names: tuple[str, ...] | None
    pictures: tuple[Picture, ...]
    must_find: Path | None
    digest: str


def layout_of(data: Path) -> Layout:
    """The set at `data`: a data.yaml, or a folder with one, or with images/ and labels/. Reads no labels and no
    pictures.

    Raises UsageError.
    """
    if data.is_dir():
        if (data / DESCRIPTION).exists():
            return _described(data / DESCRIPTION)
        return _from_folder(data)
    if not data.exists():
        raise UsageError(f"golden set {data}", "is not there", _TODO)
    if data.suffix not in (".yaml", ".yml"):
        raise UsageError(f"golden set {data}", "is neither a folder nor a data.yaml", _TODO)
    return _described(data)


def published_layout(files: Mapping[str, Path], where: str) -> Layout | None:
    """The set that came with a version, from its files by path in the set; None where these are pictures only, as an
    earlier release published them. Raises UsageError."""
    if DESCRIPTION not in files:
        return None
    names = parse_description(read_yaml(files[DESCRIPTION]), f"{DESCRIPTION} of {where}").names
    pictures = []
    for path, file in sorted(files.items()):
        folder, _, name = path.partition("/")
        if folder == "images" and is_picture(name):
            pictures.append(
                Picture(name, file, files.get(f"labels/{PurePosixPath(name).with_suffix('.txt')}"))
            )
    stamp = repr(
        [(path, file.name) for path, file in sorted(files.items())]
    )  # a cached file is named by its hash
    return Layout(where, names, tuple(pictures), files.get(MUST_FIND), _digest(stamp))


def is_picture(name: str) -> bool:
    """Whether a file of this name is one."""
    return name.rpartition(".")[2].lower() in SUFFIXES


def _described(description: Path) -> Layout:
    found = parse_description(read_yaml(description), str(description))
    root = _root(description, found)
    entries = [_entry(root, entry, description) for entry in found.pictures]
    pictures: dict[str, Picture] = {}
    for number, entry in enumerate(entries):
        prefix = f"{number}/" if len(entries) > 1 else ""
        for name, path in _pictures(entry, root):
            pictures[prefix + name] = Picture(prefix + name, path, _labels(path, root))
    return _layout(description, found.names, pictures, description.parent / MUST_FIND)


def _root(description: Path, found: Description) -> Path:
    """The folder that a description's paths are relative to; its own, where the one that it names isn't on this
    machine: sets are carried about."""
    own = description.resolve().parent
    root = Path(found.path) if found.path else own
    root = root if root.is_absolute() else own / root
    return root.resolve() if root.is_dir() else own


def _entry(root: Path, entry: str, description: Path) -> Path:
    path = Path(entry)
    found = path if path.is_absolute() else root / path
    if not found.exists():
        raise UsageError(
            f"golden set {description}",
            f"names {entry!r}, which is not in {root}",
            "correct `path` or `val` in it",
        )
    return found


def _from_folder(folder: Path) -> Layout:
    images, labels = folder / "images", folder / "labels"
    if not images.is_dir():
        raise UsageError(f"golden set {folder}", f"has neither {DESCRIPTION} nor images/", _TODO)
    if not labels.is_dir():
        why = "has no labels/: without labels nothing tells what is to be found"
        raise UsageError(f"golden set {folder}", why, _TODO)
    root = folder.resolve()
    pictures = {
        name: Picture(name, path, _labels(path, root)) for name, path in _pictures(root / "images", root)
    }
    return _layout(folder, None, pictures, folder / MUST_FIND)


def _layout(
    data: Path, names: tuple[str, ...] | None, pictures: Mapping[str, Picture], must_find: Path
) -> Layout:
    if not pictures:
        raise UsageError(f"golden set {data}", "holds no picture", f"known are {', '.join(sorted(SUFFIXES))}")
    ordered = tuple(pictures[name] for name in sorted(pictures))
    must = must_find if must_find.exists() else None
    stamps = [_stamp(path) for p in ordered for path in (p.path, p.labels) if path]
    stamps += [_stamp(path) for path in (must, data if data.is_file() else None) if path]
    stamp = repr([names, [(p.name, p.labels is not None) for p in ordered], stamps])
    return Layout(str(data), names, ordered, must, _digest(stamp))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as e:
        raise UsageError(f"file {path}", e.strerror or str(e), "name a file that can be read") from e
    return found.st_size, found.st_mtime_ns


def _digest(stamp: str) -> str:
    return hashlib.sha256(stamp.encode("utf-8", "surrogateescape")).hexdigest()


def _pictures(entry: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """Name and path of each picture in a folder, or in a list of pictures."""
    found = _listed(entry, root) if entry.is_file() else _below(entry, root)
    for count, (name, path) in enumerate(found):
        if count >= MAX_PICTURES:
            raise UsageError(
                f"golden set {entry}", f"holds more than {MAX_PICTURES} pictures", "give a part of it"
            )
        yield name, path


def _below(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    base = folder.resolve()
    for at, folders, files in os.walk(base):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            check_inside(Path(at, name), root)
        for name in sorted(files):
            if is_picture(name) and not name.startswith("."):
                path = Path(at, name)
                check_inside(path, root)
                yield path.relative_to(base).as_posix(), path


def _listed(listing: Path, root: Path) -> Iterator[tuple[str, Path]]:
    if listing.suffix != ".txt":
        raise UsageError(f"golden set {listing}", "is neither a folder nor a .txt list of pictures", _TODO)
    seen: set[str] = set()
    for line in read_text(listing).splitlines():
        if not (text := line.strip()):
            continue
        path = Path(text) if os.path.isabs(text) else listing.parent / text
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        if not is_picture(name):
            raise UsageError(
                f"golden set {listing}", f"lists {text[:200]!r}, which is no picture", "correct the list"
            )
        if name in seen:
            raise UsageError(f"golden set {listing}", f"lists {name!r} twice", "list each picture once")
        seen.add(name)
        check_inside(path, root)
        yield name.removeprefix("images/"), path


def _labels(picture: Path, root: Path) -> Path | None:
    """The label file of a picture, if there is one."""
    parts = list(picture.parts)
    at = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
    if at is not None:
        parts[at] = "labels"
    path = Path(*parts).with_suffix(".txt")
    if not os.path.lexists(path):
        return None
    check_inside(path, root)
    return path
