# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder of pictures that stays within its quota, whatever was in it before."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.core.pictures import PictureQuota, picture_stem
from edgeagent.workers.picture_archive import Archive, companions_of

NOW = 1_800_000_000.0
DAY = PictureQuota(max_bytes=1000, max_age_s=86_400.0, max_pictures=5, min_free_bytes=500)


class Disk:
    """How much a disk has left."""

    def __init__(self, free: int = 10**9) -> None:
        self.free = free

    def __call__(self, folder: Path) -> int:
        """Asked for this folder."""
        return self.free


def name(seq: int, folder: str = "line-1") -> str:
    """Of the picture of a second."""
    return f"{folder}/{picture_stem(NOW + seq, seq)}.jpg"


def there(root: Path) -> list[str]:
    """All files."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def write(archive: Archive, *seqs: int, size: int = 100) -> list[bool]:
    """Pictures, one after the other, and after each the archive is swept."""
    written = []
    for seq in seqs:
        written.append(archive.write(name(seq), [(name(seq), bytes(size))]))
        archive.sweep(NOW + seq)
    return written


def test_a_quota_holds_over_a_restart(tmp_path: Path) -> None:
    """What was written before counts, by its name; nothing else is kept anywhere."""
    write(Archive(tmp_path, DAY), *range(4))
    later = Archive(tmp_path, DAY)
    assert write(later, *range(4, 8)) == [True] * 4
    assert there(tmp_path) == [name(seq) for seq in range(3, 8)]


def test_pictures_go_when_their_time_is_over(tmp_path: Path) -> None:
    """Also when no other comes; their folder with the last of them."""
    archive = Archive(tmp_path, DAY)
    write(archive, 0, 3600)
    archive.sweep(NOW + 86_401)
    assert there(tmp_path) == [name(3600)]
    Archive(tmp_path, DAY).sweep(NOW + 1_000_000)
    assert list(tmp_path.iterdir()) == []


def test_a_short_disk_gets_its_room_back(tmp_path: Path) -> None:
    """Pictures go until it has as much free as it must, and none is written before."""
    disk = Disk()
    archive = Archive(tmp_path, DAY, disk)
    write(archive, 0, 1, 2)
    disk.free = 350
    assert write(archive, 3) == [False]
    assert there(tmp_path) == [name(2)]  # 350 + 2 * 100
    disk.free = 10**9
    assert write(archive, 4) == [True]


def test_what_is_no_picture_stays(tmp_path: Path) -> None:
    """Somebody's own file, and his folder."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("mine")
    archive = Archive(tmp_path, PictureQuota(1000, 1.0, 0, 0))
    write(archive, 0, 1)
    assert there(tmp_path) == ["notes/readme.txt"]


def test_where_none_is_kept_any_more_the_folder_goes(tmp_path: Path) -> None:
    """So that a node has nothing to look after at its next start."""
    root = tmp_path / "replay"
    write(Archive(root, DAY), 0, 1)
    none = Archive(root, PictureQuota(1000, 86_400.0, 0, 0))
    none.sweep(NOW)
    assert not root.exists()
    none.sweep(NOW)


def test_what_a_killed_worker_left_goes(tmp_path: Path) -> None:
    """Half a picture is under no picture's name; a label without its picture is of no use."""
    images = tmp_path / "yolo" / "v2" / "images"
    for folder in ("images", "labels", "drawn"):
        (tmp_path / "yolo" / "v2" / folder).mkdir(parents=True)
    (images / f".{Path(name(1)).name}.4194304.0123456789abcdef01234567.tmp").write_bytes(b"half")
    label, drawn = companions_of(name(1, "yolo/v2/images"))
    (tmp_path / label).write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / drawn).write_bytes(b"drawn")
    kept = name(2, "yolo/v2/images")
    archive = Archive(tmp_path, DAY)
    files = [(path, b"1") for path in companions_of(kept)]
    archive.write(kept, [*files, (kept, b"1")])
    archive.sweep(NOW)
    assert there(tmp_path) == sorted([kept, *companions_of(kept)])


def test_what_belongs_to_a_picture_counts_and_goes_with_it(tmp_path: Path) -> None:
    """Its label, and the one in which boxes are drawn; at last the folder of its version, with the data.yaml."""
    archive = Archive(tmp_path, PictureQuota(100, 86_400.0, 5, 0))
    for seq in (1, 2):
        path = name(seq, "yolo/v2/images")
        label, drawn = companions_of(path)
        archive.write(path, [(label, bytes(10)), (drawn, bytes(20)), (path, bytes(30))])
        archive.write_once("yolo/v2/data.yaml", b"names: {}")
        archive.sweep(NOW)
    last = name(2, "yolo/v2/images")
    assert there(tmp_path) == sorted([last, *companions_of(last), "yolo/v2/data.yaml"])
    assert [p.size for p in Archive(tmp_path, DAY).pictures()] == []
    again = Archive(tmp_path, DAY)
    again.sweep(NOW)
    assert [p.size for p in again.pictures("yolo/v2/images")] == [60]
    Archive(tmp_path, DAY).sweep(NOW + 1_000_000)
    assert there(tmp_path) == []


def test_a_disk_that_takes_nothing_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """Neither a label without its picture."""
    archive = Archive(tmp_path, DAY)
    path = name(1, "yolo/v2/images")
    label, drawn = companions_of(path)
    (tmp_path / "yolo" / "v2").mkdir(parents=True)
    (tmp_path / "yolo" / "v2" / "images").write_text("no folder")
    with pytest.raises(FileExistsError):
        archive.write(path, [(label, b"1"), (drawn, b"1"), (path, b"1")])
    assert there(tmp_path) == ["yolo/v2/images"]
    assert archive.pictures() == []


def test_what_somebody_removed_is_no_trouble(tmp_path: Path) -> None:
    """Nor a folder that isn't there any more."""
    archive = Archive(tmp_path / "replay", DAY)
    write(archive, 0, 1)
    (tmp_path / "replay" / name(0)).unlink()
    archive.sweep(NOW + 90_000)
    assert there(tmp_path) == []
    (tmp_path / "replay").rmdir()
    archive.sweep(NOW + 90_000)
    assert write(archive, 90_001) == [True]
