# SPDX-License-Identifier: AGPL-3.0-or-later
"""The etcd part of `make soak`: after each fault of a real server, how soon a new value is acted upon.

The watch is the one that a node has, with its defaults, and reaches etcd through a proxy of ours that can fall silent.
The operator writes to etcd directly, as soon as the fault has ended. More than MAX_ACT_S is a failure.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.etcd_server import Etcd, Proxy
from edgeagent.errors import UnavailableError
from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.intent.port import Access, Connection, Entry, Tls
from edgeagent.observe.logs import setup_logging
from edgeagent.status.summary import MAX_BYTES

MAX_ACT_S = 2.0
GIVE_UP_S = 90.0
SETTLE_S = 6.0  # between two faults, so that each is a first one
KEY = "/models/yolo/current"
QUOTA_BYTES = 4 << 20
DEFAULT_QUOTA_BYTES = 2 << 30


@dataclass
class Node:
    """What a node's watch has reported, with the time."""

    store: EtcdConfigStore
    values: dict[bytes | None, float] = field(default_factory=dict)
    lost_at: float | None = None
    warned: str = ""

    def watch(self) -> None:
        """Begin, and wait for the first answer."""
        self.store.watch([KEY], self._on_entry, self._on_connection)
        wait_for(lambda: bool(self.values))

    def _on_entry(self, entry: Entry) -> None:
        self.values[entry.value] = time.monotonic()

    def _on_connection(self, connection: Connection) -> None:
        if not connection.connected and self.lost_at is None:
            self.lost_at = time.monotonic()
        self.warned = connection.why or self.warned


def wait_for(fulfilled: Callable[[], bool]) -> bool:
    """Whether it comes true before one gives up."""
    give_up = time.monotonic() + GIVE_UP_S
    while not fulfilled() and time.monotonic() < give_up:
        time.sleep(0.002)
    return fulfilled()


@dataclass(frozen=True)
class Row:
    """One fault. Seconds: it lasted, until the status said so (None: never), until the value counted."""

    name: str
    lasted: float
    noticed: float | None
    acted: float

    def __str__(self) -> str:
        noticed = "never lost" if self.noticed is None else f"{self.noticed:.1f} s"
        return f"| {self.name} | {self.lasted:.0f} s | {noticed} | {self.acted:.2f} s |"


class Bench:
    """An etcd, a proxy before it, and a node that watches through it."""

    def __init__(self, folder: Path, *flags: str, tls: Tls | None = None) -> None:
        self.etcd = Etcd(folder, *flags, secure=tls is not None)
        self.proxy = Proxy(self.etcd.secure_port or self.etcd.port)
        self.node = Node(EtcdConfigStore([f"127.0.0.1:{self.proxy.port}"], access=Access(tls=tls)))
        self._operator = EtcdConfigStore([f"127.0.0.1:{self.etcd.port}"])
        self._count = 0
        self.write()
        self.node.watch()
        time.sleep(SETTLE_S)

    def write(self) -> bytes:
        """A new value, as the operator writes it."""
        self._count += 1
        value = b"v%d" % self._count
        give_up = time.monotonic() + 10
        while True:
            try:
                self._operator.put(KEY, value)
                return value
            except UnavailableError:
                if time.monotonic() > give_up:
                    raise

    def measure(self, name: str, begin: Callable[[], None], lasts_s: float, end: Callable[[], None]) -> Row:
        """Begin a fault, end it, write a value: when is it reported?"""
        self.node.lost_at = None
        began = time.monotonic()
        begin()
        time.sleep(lasts_s)
        end()
        ended = time.monotonic()
        value = self.write()
        wait_for(lambda: value in self.node.values)
        acted = self.node.values.get(value, float("inf")) - ended
        lost = self.node.lost_at
        time.sleep(SETTLE_S)
        row = Row(name, ended - began, lost and lost - began, max(0.0, acted))
        print(row, flush=True)
        return row

    def close(self) -> None:
        """All of it."""
        for store in (self.node.store, self._operator):
            store.close()
        self.proxy.close()
        self.etcd.kill()


@contextmanager
def bench(folder: Path, *flags: str, tls: Tls | None = None) -> Iterator[Bench]:
    """See Bench."""
    with closing(Bench(folder, *flags, tls=tls)) as one:
        yield one


def server_faults(folder: Path) -> Iterator[Row]:
    """Killed, frozen, cut off, flapping, without its data, restored."""
    with bench(folder / "server") as b:
        etcd, proxy = b.etcd, b.proxy
        for seconds in (1, 10, 90):
            yield b.measure("killed", etcd.kill, seconds, etcd.start)
        for seconds in (3, 10, 60):
            stop, go = (partial(etcd.signal, number) for number in (signal.SIGSTOP, signal.SIGCONT))
            yield b.measure("frozen", stop, seconds, go)
        for seconds in (3, 10, 60):
            yield b.measure(
                "network silent", partial(proxy.silent, True), seconds, partial(proxy.silent, False)
            )
        for seconds in (10, 60):
            yield b.measure("connections cut", partial(proxy.cut, True), seconds, partial(proxy.cut, False))
        yield b.measure("network flaps every 2 s", partial(flap, proxy, 15), 0, nothing)
        yield b.measure("server flaps every 2 s", partial(flap_server, etcd, 10), 0, nothing)
        yield b.measure("data lost", partial(lose, etcd), 5, etcd.start)
        snapshot = folder / "snapshot"
        etcd.ctl("snapshot", "save", str(snapshot))
        for _ in range(20):
            b.write()
        yield b.measure("restored from a snapshot", partial(restore, etcd, snapshot), 5, etcd.start)


def nothing() -> None:
    """The fault has ended by itself."""


def flap(proxy: Proxy, times: int) -> None:
    """Two seconds away, two seconds there."""
    for _ in range(times):
        for is_cut in (True, False):
            proxy.cut(is_cut)
            time.sleep(2)


def flap_server(etcd: Etcd, times: int) -> None:
    """Killed, and after two seconds started, for two seconds."""
    for n in range(times):
        etcd.kill()
        time.sleep(2)
        etcd.start()
        time.sleep(2 if n + 1 < times else 0)


def lose(etcd: Etcd) -> None:
    """Its data are gone."""
    etcd.kill()
    etcd.data = etcd.data.with_name(f"{etcd.data.name}-")


def restore(etcd: Etcd, snapshot: Path) -> None:
    """It is killed, and its data are those of a snapshot."""
    lose(etcd)
    etcd.ctl(
        "snapshot", "restore", str(snapshot), "--data-dir", str(etcd.data), "--name", "soak",
        "--initial-cluster", f"soak={etcd.peer}", "--initial-advertise-peer-urls", etcd.peer,
    )  # fmt: skip


def full_database(folder: Path) -> Iterator[Row]:
    """The alarm NOSPACE, until somebody compacts, defragments and disarms it."""
    with bench(folder / "full", "--quota-backend-bytes", str(QUOTA_BYTES)) as b:
        filler = EtcdConfigStore([f"127.0.0.1:{b.etcd.port}"])

        def fill() -> None:
            with suppress(UnavailableError):
                while True:
                    filler.put("/filling", bytes(100_000))

        def make_room() -> None:
            revision = filler.get("/filling").revision
            for line in (f"compact {revision}", "defrag", "alarm disarm"):
                b.etcd.ctl(*line.split())

        with closing(filler):
            yield b.measure("database full (NOSPACE)", fill, 15, make_room)
        print(f"  why: {b.node.warned}")


def certificates(folder: Path) -> Iterator[Row]:
    """Certificates of the server and of the node that expire, and are renewed."""
    ca, server, client = (folder / name for name in ("ca", "server-id", "client-id"))
    for path in (ca, server, client):
        path.mkdir()
    openssl("req", "-x509", *new_key(ca), "-out", ca / "cert.pem", "-days", "2", "-subj", "/CN=soak",
            "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    sign(ca, server, 2)
    sign(ca, client, 2)
    flags = ("--cert-file", f"{server}/cert.pem", "--key-file", f"{server}/key.pem", "--client-cert-auth",
             "--trusted-ca-file", f"{ca}/cert.pem")  # fmt: skip
    tls = Tls(ca / "cert.pem", client / "cert.pem", client / "key.pem")
    with bench(folder / "tls", *flags, tls=tls) as b:
        for name, whose in (
            ("etcd's certificate expired", server),
            ("the node's certificate expired", client),
        ):
            yield b.measure(name, partial(expire, ca, whose, b.etcd), 30, partial(sign, ca, whose, 2))


def expire(ca: Path, whose: Path, etcd: Etcd) -> None:
    """Its certificate isn't valid any more, and everybody has to connect again."""
    etcd.kill()
    sign(ca, whose, -1)
    etcd.start()


def sign(ca: Path, whose: Path, days: int) -> None:
    """A new certificate, valid for so many days (or no more), in one step."""
    extensions = whose / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    request, new = whose / "request.pem", whose / "new.pem"
    key = whose / "key.pem"
    if not key.exists():
        openssl("req", *new_key(whose), "-out", request, "-subj", f"/CN={whose.name}")
    openssl("x509", "-req", "-in", request, "-CA", ca / "cert.pem", "-CAkey", ca / "key.pem", "-CAcreateserial",
            "-days", str(days), "-extfile", extensions, "-out", new)  # fmt: skip
    new.replace(whose / "cert.pem")


def new_key(folder: Path) -> tuple[str | Path, ...]:
    """Arguments for openssl."""
    return (
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        folder / "key.pem",
    )


def openssl(*args: str | Path) -> None:
    """Run it."""
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


def presence_growth(folder: Path) -> None:
    """What writing presence costs, with compaction off: bytes of the database for each writing, and what fits."""
    etcd = Etcd(folder / "presence")
    count = 4000
    with closing(EtcdConfigStore([f"127.0.0.1:{etcd.port}"])) as store:
        lease = store.lease(45)
        store.put("/edgeagent/nodes/press-07", bytes(MAX_BYTES), lease)
        before = _in_use(etcd)
        for _ in range(count):
            store.put("/edgeagent/nodes/press-07", bytes(MAX_BYTES), lease)
        each = (_in_use(etcd) - before) / count
        kept_alive = _in_use(etcd)
        for _ in range(count):
            lease.keep_alive()
        kept_alive = _in_use(etcd) - kept_alive
    etcd.kill()
    days = DEFAULT_QUOTA_BYTES / (each * 86_400 / 300)
    print(
        f"\npresence: {each:.0f} bytes of database a writing of {MAX_BYTES}; {kept_alive} for {count} keep-alives"
    )
    print(f"  without compaction, 2 GiB last {days:.0f} days with one node, {days / 20:.0f} with twenty")


def _in_use(etcd: Etcd) -> int:
    told = etcd.ctl("endpoint", "status", "--write-out=json")
    return int(told.partition('"dbSizeInUse":')[2].partition("}")[0].partition(",")[0])


def main() -> int:
    """All faults, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=["server", "full", "certificates", "presence"])
    only = parser.parse_args().only
    setup_logging("warning", "console")
    parts = {"server": server_faults, "full": full_database, "certificates": certificates}
    print(
        "| fault | lasted | connected: false after | new value acted upon after its end |\n|---|---|---|---|"
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="edgeagent-soak-etcd-") as temp:
        for name, part in parts.items():
            if only in (None, name):
                rows += part(Path(temp))
        if only in (None, "presence"):
            presence_growth(Path(temp))
    late = [row for row in rows if row.acted > MAX_ACT_S]
    worst = max((row.acted for row in rows), default=0.0)
    print(f"\n{len(rows)} faults; the slowest took {worst:.2f} s (at most {MAX_ACT_S:g})")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
