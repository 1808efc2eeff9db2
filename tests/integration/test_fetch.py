# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fetching over real connections that break, stall and crawl, and under `kill -9`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeagent.core.model import Manifest
from edgeagent.errors import NotFoundError, UnavailableError
from edgeagent.store import fetch as fetch_module
from edgeagent.store.cache import Cache, CachedVersion
from edgeagent.store.fetch import TRIES, Progress, fetch_version
from edgeagent.store.folder import FolderFiles
from edgeagent.store.pace import Pace
from edgeagent.store.remote import RemoteStore
from tests.support.http_store import HttpStore, http_store
from tests.support.published import publish_bytes, some_bytes

WEIGHTS = some_bytes(1_500_000)
TIMEOUT_S = 1.0
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cache")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """yolo/v1, published."""
    return publish_bytes(str(tmp_path / "store"), "v1", WEIGHTS, tmp_path)


@pytest.fixture
def server(tmp_path: Path, manifest: Manifest) -> Iterator[HttpStore]:
    """A server that shows it; faults hit the weights only, until a test says otherwise."""
    with http_store(tmp_path / "store") as store:
        store.only = ".onnx"
        yield store


def fetch(server: HttpStore, cache: Cache, seen: list[Progress] | None = None) -> CachedVersion:
    """Fetch yolo/v1, with short time-outs and back-offs."""
    progress = (seen if seen is not None else []).append
    remote = RemoteStore(server.url, timeout_s=TIMEOUT_S)
    return fetch_version(remote, cache, "yolo", "v1", progress, sleep=lambda s: time.sleep(s / 50))


def offsets(server: HttpStore) -> list[int]:
    """Where each request for the weights began."""
    asked = [wanted for path, wanted in server.asked if path.endswith(".onnx")]
    return [int(wanted.removeprefix("bytes=").rstrip("-") or 0) for wanted in asked]


def test_server_that_cuts_every_connection(server: HttpStore, cache: Cache) -> None:
    """Each attempt goes on where the one before was cut."""
    server.cut_after = 400_000
    assert fetch(server, cache).weights.read_bytes() == WEIGHTS
    assert offsets(server) == [0, 400_000, 800_000, 1_200_000]


def test_cut_without_ranges(server: HttpStore, cache: Cache) -> None:
    """The server sends everything again; the part that is there is skipped, never appended twice."""
    server.cut_after, server.cuts, server.ranges = 400_000, 2, False
    assert fetch(server, cache).weights.read_bytes() == WEIGHTS
    assert offsets(server) == [0, 400_000, 400_000]


def test_store_cut_off_and_back_later(server: HttpStore, cache: Cache) -> None:
    """Gives up after some tries, keeps what has come, resumes when it is back."""
    server.cut_after, server.ranges = 400_000, False
    with pytest.raises(UnavailableError):
        fetch(server, cache)
    assert offsets(server) == [0] + [400_000] * (TRIES - 1)
    assert cache.lookup("yolo", "v1") is None
    server.cut_after, server.ranges = None, True
    seen: list[Progress] = []
    assert fetch(server, cache, seen).weights.read_bytes() == WEIGHTS
    assert seen[0].resumed_from == 400_000
    assert offsets(server)[-1] == 400_000


def test_server_down_in_the_middle(tmp_path: Path, manifest: Manifest, cache: Cache) -> None:
    """Connection refused is worth a retry too; the next server's address does not matter."""
    with http_store(tmp_path / "store") as first:
        first.only, first.cut_after = ".onnx", 400_000
        first.ranges = False
        with pytest.raises(UnavailableError):
            fetch(first, cache)
    with pytest.raises(UnavailableError):
        fetch(first, cache)
    with http_store(tmp_path / "store") as second:
        assert fetch(second, cache).weights.read_bytes() == WEIGHTS
        assert offsets(second) == [400_000]


def test_server_that_stalls_in_the_middle(server: HttpStore, cache: Cache) -> None:
    """No byte within the time-out is a broken connection: resumed, and given up in bounded time."""
    server.hang_after = 400_000
    began = time.monotonic()
    assert fetch(server, cache).weights.read_bytes() == WEIGHTS
    assert offsets(server) == [0, 400_000, 800_000, 1_200_000]
    assert time.monotonic() - began > 3 * TIMEOUT_S


@pytest.mark.parametrize("after", [-1, 0, 20])
def test_server_that_hangs_at_once(server: HttpStore, cache: Cache, after: int) -> None:
    """Before the headers, after them, or within the manifest: told within the time-out; the cache serves."""
    cached = fetch(server, cache)
    server.only, server.hang_after = "", after
    remote = RemoteStore(server.url, timeout_s=TIMEOUT_S)
    for ask in (remote.read_manifest, remote.fingerprint, remote.has_version):
        if ask == remote.has_version and after >= 0:
            continue  # the headers are all that it asks for
        with pytest.raises(UnavailableError, match=r"no answer within 1 s"):
            ask("yolo", "v1")
    assert fetch(server, cache) == cached


def test_slow_server_is_waited_for(server: HttpStore, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower than the time-out as a whole, but never silent for so long: one connection, progress seen."""
    monkeypatch.setattr(fetch_module, "_PROGRESS_EVERY_S", 0.0)
    server.chunk_pause_s = TIMEOUT_S / 10
    seen: list[Progress] = []
    began = time.monotonic()
    fetch(server, cache, seen)
    assert time.monotonic() - began > 2 * TIMEOUT_S
    assert offsets(server) == [0]
    done = [p.done_bytes for p in seen]
    assert len(set(done)) > 5
    assert done == sorted(done)
    assert done[-1] == len(WEIGHTS)


def test_folder_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network mount whose server is gone blocks each call for ever."""
    back = threading.Event()
    monkeypatch.setattr(FolderFiles, "_stat", lambda *_: back.wait())
    with pytest.raises(UnavailableError, match="no answer within"):
        RemoteStore(str(tmp_path / "mount"), timeout_s=TIMEOUT_S).read_manifest("yolo", "v1")
    back.set()


@pytest.mark.parametrize(
    "answer",
    [
        (200, "bytes 400000-1499999/1500000"),
        (206, ""),
        (206, "bytes 0-1499999/1500000"),
        (206, "items 1-2/3"),
    ],
    ids=["200 with Content-Range", "206 without", "206 of another part", "206 of no bytes"],
)
def test_server_that_is_unclear_about_a_range(
    server: HttpStore, cache: Cache, answer: tuple[int, str]
) -> None:
    """After one cut: all of it is asked for, without a range, and comes."""
    server.cut_after, server.cuts, server.answers_range = 400_000, 1, answer
    assert fetch(server, cache).weights.read_bytes() == WEIGHTS
    asked = [wanted for path, wanted in server.asked if path.endswith(".onnx")]
    assert asked == ["", "bytes=400000-", ""]


def test_server_that_answers_everything_with_a_part(server: HttpStore, cache: Cache) -> None:
    """It is named, with what it answered, after as many tries as any that can't be reached."""
    server.cut_after, server.answers_range, server.status = 400_000, (206, ""), None
    with pytest.raises(UnavailableError, match=rf"model store {server.url}: ") as caught:
        fetch(server, cache)
    assert "publish" not in str(caught.value)
    assert len(offsets(server)) <= 1 + 2 * TRIES


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            {"content_type": "text/html; charset=utf-8"},
            "a web page came in place of the file; look at proxy or login",
        ),
        ({"encoding": "gzip"}, "compressed .gzip., unasked; look at the server, or a proxy"),
    ],
    ids=["login page", "gzip"],
)
@pytest.mark.parametrize("only", ["", ".onnx"], ids=["all", "weights"])
def test_answer_that_is_not_the_file(
    server: HttpStore, cache: Cache, fault: dict[str, str], said: str, only: str
) -> None:
    """A login page or a proxy's packing: nothing about the version, which comes when that is out of the way."""
    server.only = only
    for name, value in fault.items():
        setattr(server, name, value)
    with pytest.raises(UnavailableError, match=said):
        fetch(server, cache)
    for name in fault:
        setattr(server, name, "")
    assert fetch(server, cache).weights.read_bytes() == WEIGHTS


def test_server_that_drips(server: HttpStore, cache: Cache) -> None:
    """Never silent for the time-out, and never done: the manifest and the weights are given up at the least pace."""
    server.chunk_pause_s = TIMEOUT_S / 10
    remote = RemoteStore(server.url, timeout_s=TIMEOUT_S, pace=Pace(100e6, TIMEOUT_S / 2))
    with pytest.raises(UnavailableError, match="min_bytes_per_second is 1e"):
        fetch_version(remote, cache, "yolo", "v1", lambda _: None)
    assert offsets(server) == [0]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_server_that_refuses(server: HttpStore, cache: Cache, status: int) -> None:
    """Not a verdict on the version: the status is named, and it can be tried again."""
    server.only, server.status = "", status
    with pytest.raises(UnavailableError, match=str(status)):
        fetch(server, cache)
    server.only = ".onnx"
    with pytest.raises(UnavailableError, match=str(status)):
        fetch(server, cache)
    server.status = None
    assert fetch(server, cache).weights.read_bytes() == WEIGHTS


def test_gone_is_not_found(server: HttpStore, cache: Cache) -> None:
    """410 says for good what 404 says."""
    server.only, server.status = "", 410
    with pytest.raises(NotFoundError, match="yolo/v1"):
        fetch(server, cache)


def test_redirects_are_followed(tmp_path: Path, server: HttpStore, cache: Cache) -> None:
    """To where the files moved, with the range; in a circle, they are an error."""
    with http_store(tmp_path / "store") as moved:
        server.redirect, moved.cut_after, moved.cuts = moved.url, 400_000, 1
        assert fetch(server, cache).weights.read_bytes() == WEIGHTS
        assert offsets(moved) == [0, 400_000]
        server.only, server.redirect = "", server.url
        with pytest.raises(UnavailableError, match="TooManyRedirects"):
            RemoteStore(server.url, timeout_s=5).read_manifest("yolo", "v1")


def test_path_on_the_server_and_token_in_the_query(tmp_path: Path, server: HttpStore, cache: Cache) -> None:
    """A store below the root, and one that wants a token behind each path."""
    remote = RemoteStore(f"{server.url}/yolo/../?sig=a%2Fb", timeout_s=5)
    assert fetch_version(remote, cache, "yolo", "v1", lambda _: None).weights.read_bytes() == WEIGHTS
    assert all(path.endswith("?sig=a%2Fb") for path, _ in server.asked)


def test_header_from_the_options(server: HttpStore) -> None:
    """A store that wants a token in a header gets it with each request, beside ours."""
    options = {"headers": {"Range": "bytes=5-"}}  # one that this server shows that it has seen
    remote = RemoteStore(server.url, timeout_s=5, storage_options=options)
    with pytest.raises(UnavailableError, match="asked for the whole"):
        remote.read_manifest("yolo", "v1")
    assert server.asked == [("/yolo/v1/manifest.json", "bytes=5-")]


def test_two_versions_at_once(tmp_path: Path, server: HttpStore, cache: Cache) -> None:
    """And each of them twice: all whole, and nothing is downloaded twice."""
    publish_bytes(str(tmp_path / "store"), "v2", some_bytes(1_000_000, seed=2), tmp_path)
    server.chunk_pause_s = 0.01
    start = threading.Barrier(4)

    def one(version: str) -> CachedVersion:
        remote = RemoteStore(server.url, timeout_s=5)
        start.wait()
        return fetch_version(remote, Cache(cache.root), "yolo", version, lambda _: None)

    with ThreadPoolExecutor(4) as pool:
        fetched = list(pool.map(one, ["v1", "v2", "v1", "v2"]))
    for cached in fetched:
        cache.verify(cached)
    assert offsets(server) == [0, 0]
    assert list((cache.root / "partial").iterdir()) == []


_FETCHER = """
import sys
from pathlib import Path
from edgeagent.store.cache import Cache
from edgeagent.store import fetch
from edgeagent.store.remote import RemoteStore
fetch._PROGRESS_EVERY_S = 0.0
show = lambda p: print(p.resumed_from, p.done_bytes, flush=True)
fetch.fetch_version(RemoteStore(sys.argv[1]), Cache(Path(sys.argv[2])), "yolo", "v1", show)
"""


def test_kill_in_the_middle_of_a_download(server: HttpStore, cache: Cache) -> None:
    """Killed from outside, over HTTP, at several points: each start resumes, and the end is whole."""
    server.hang_after = 400_000  # of each answer: what is to be killed gets no further
    starts = []
    for is_killed in (True, True, True, False):
        if not is_killed:
            server.hang_after = None
        command = [sys.executable, "-c", _FETCHER, server.url, str(cache.root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
            assert process.stdout is not None
            for n, line in enumerate(process.stdout):
                resumed_from, done = map(int, line.split())
                if n == 0:
                    starts.append(resumed_from)
                if is_killed and done >= resumed_from + 300_000:
                    assert cache.lookup("yolo", "v1") is None
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == (-signal.SIGKILL if is_killed else 0)
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    assert starts[-1] >= 900_000
    cached = cache.lookup("yolo", "v1")
    assert cached is not None
    assert cached.weights.read_bytes() == WEIGHTS


@pytest.mark.parametrize("what", ["fetch", "publish"])
def test_kill_between_any_two_lines(tmp_path: Path, what: str) -> None:
    """Killed at random lines of the store's code, many times over: never half, never stuck."""
    command = [sys.executable, "-m", "tests.support.killed", what, str(tmp_path), "7", "40"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 10 <= int(done.stdout) < 40


def test_cache_needs_no_network_library() -> None:
    """The node process looks into the cache; fsspec and requests belong to the worker that fetches."""
    code = "import sys, edgeagent.store.cache; print([m for m in ('fsspec', 'requests', 's3fs') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
