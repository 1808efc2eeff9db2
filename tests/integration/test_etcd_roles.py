# SPDX-License-Identifier: AGPL-3.0-or-later
"""`deploy/etcd/roles.sh` against a real etcd: with its own user each part of a fleet can do its work, and no more."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeagent.cli.main import main
from edgeagent.core.directive import current_key, pin_key
from edgeagent.core.fleet_report import REPORTS, report_key
from edgeagent.core.rollout import COORDINATOR_KEY, archive_key, rollout_key
from edgeagent.errors import UsageError
from edgeagent.fleet.presence import presence_key
from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.intent.port import ABSENT, Access, Expected, KeyValueStore, Outcome, Tls
from edgeagent.intent.url import open_store
from tests.support.certificates import Authority
from tests.support.etcd import PATIENCE, EtcdServer, free_port
from tests.support.recorder import Recorder

SCRIPT = Path(__file__).parents[2] / "deploy/etcd/roles.sh"
CURRENT, ROLLOUT = current_key("yolo"), rollout_key("yolo")
QUICK_LOGIN = ("--bcrypt-cost", "4")
EVERYBODY = ("root", "node press-1 press-10", "coordinator", "ci yolo", "operator anna", "enable")

Open = Callable[[str], EtcdConfigStore]


def roles(server: EtcdServer, passwords: Path, *args: str, **environment: str) -> str:
    """What the script says. Raises CalledProcessError."""
    env = {
        **os.environ,
        "ETCDCTL_ENDPOINTS": server.endpoint,
        "PASSWORDS": str(passwords),
        **PATIENCE,
        **environment,
    }
    done = subprocess.run([SCRIPT, *args], env=env, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EtcdServer, Path]]:
    """A server that asks everybody who he is, and the folder of the passwords."""
    folder = tmp_path_factory.mktemp("guarded")
    passwords = folder / "passwords"
    with EtcdServer(folder / "server", *QUICK_LOGIN) as server:
        for line in EVERYBODY:
            roles(server, passwords, *line.split())
        yield server, passwords


@pytest.fixture
def open_as(guarded: tuple[EtcdServer, Path]) -> Iterator[Open]:
    """Opens the store as one of the users; closed at the end."""
    server, passwords = guarded
    opened: list[EtcdConfigStore] = []

    def open_one(user: str) -> EtcdConfigStore:
        access = Access(user, passwords / user) if user else Access()
        opened.append(EtcdConfigStore([server.endpoint], access=access))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def may_write(store: KeyValueStore, key: str) -> bool:
    """Whether this user may, by a plain writing and by a transaction; the key is gone afterwards."""
    try:
        store.put(key, b"x")
    except UsageError as e:
        if "permission denied" not in e.why:
            raise
        with pytest.raises(UsageError, match="permission denied"):
            store.compare_and_set([], {key: b"x"})
        return False
    assert store.compare_and_set([], {key: None}) is Outcome.WRITTEN
    return True


def may_read(store: KeyValueStore, key: str) -> bool:
    """Whether this user may read the key, or list what is below it when it ends with a slash."""
    try:
        store.list(key) if key.endswith("/") else store.get(key)
    except UsageError as e:
        if "permission denied" not in e.why:
            raise
        return False
    return True


WRITES = {
    CURRENT: {"coordinator", "ci", "operator-anna"},
    ROLLOUT: {"coordinator", "ci", "operator-anna"},
    archive_key("yolo", "r1"): {"coordinator", "ci", "operator-anna"},
    pin_key("yolo", "press-1"): {"coordinator", "operator-anna"},
    rollout_key("other"): {"coordinator", "operator-anna"},
    COORDINATOR_KEY: {"coordinator"},
    presence_key("press-1"): {"node-press-1"},
    presence_key("press-10"): {"node-press-10"},
    presence_key("press-2"): set(),
    report_key("press-1", "yolo"): {"node-press-1"},
    report_key("press-10", "yolo"): {"node-press-10"},
    "/edgeagent/other": set(),
    "/other": set(),
}
EVERYONE = {"node-press-1", "node-press-10", "coordinator", "ci", "operator-anna"}
SEES_FLEET = EVERYONE - {"node-press-1", "node-press-10"}
READS = {
    CURRENT: EVERYONE,
    ROLLOUT: EVERYONE,
    "/models/": EVERYONE - {"ci"},
    "/models/yolo/": EVERYONE,
    COORDINATOR_KEY: EVERYONE,
    "/edgeagent/nodes/": SEES_FLEET,
    REPORTS: SEES_FLEET,
    f"{REPORTS}press-1/": SEES_FLEET | {"node-press-1"},
    presence_key("press-10"): SEES_FLEET | {"node-press-10"},
    "/other": set(),
}


@pytest.mark.parametrize("user", sorted(EVERYONE))
def test_who_may_do_what(open_as: Open, user: str) -> None:
    """All of the table: a node writes its own keys and nobody else's, also where its name begins another's."""
    store = open_as(user)
    assert {key for key in WRITES if may_write(store, key)} == {key for key in WRITES if user in WRITES[key]}
    assert {key for key in READS if may_read(store, key)} == {key for key in READS if user in READS[key]}


def test_without_a_user_nobody_gets_in(open_as: Open) -> None:
    """Neither reading nor writing."""
    with pytest.raises(UsageError):
        open_as("").get(CURRENT)
    with pytest.raises(UsageError):
        open_as("").put(presence_key("press-1"), b"x")


def test_a_node_can_do_its_work(open_as: Open) -> None:
    """It watches, keeps its presence alive under a lease, and looks at leader and roll-out in one step."""
    node, coordinator = open_as("node-press-1"), open_as("coordinator")
    seen = Recorder()
    node.watch([CURRENT, pin_key("yolo", "press-1"), ROLLOUT], seen.on_entry, seen.on_connection)
    seen.wait_value(ROLLOUT, None)
    lease = node.lease(60)
    node.put(presence_key("press-1"), b"here", lease)
    assert lease.keep_alive()
    led = coordinator.lease(60)
    assert coordinator.compare_and_set([], {COORDINATOR_KEY: b"c1", ROLLOUT: b"r1"}, led) is Outcome.WRITTEN
    rollout = seen.wait_value(ROLLOUT, b"r1")
    both = [
        Expected(ROLLOUT, rollout.revision),
        Expected(COORDINATOR_KEY, created=node.get(COORDINATOR_KEY).created),
    ]
    assert node.compare_and_set(both, {}) is Outcome.WRITTEN
    led.revoke()
    assert node.compare_and_set(both, {}) is Outcome.REFUSED
    lease.revoke()
    assert node.get(presence_key("press-1")).revision == ABSENT


def test_who_may_read_intent_only_goes_on_following_it(open_as: Open) -> None:
    """As the user of a node that was made before nodes read who leads: what it may not read stays unknown."""
    node, anna = open_as("node-press-1"), open_as("operator-anna")
    seen, denied = Recorder(), presence_key("press-10")
    node.watch([CURRENT, denied], seen.on_entry, seen.on_connection)
    seen.wait_value(CURRENT, None)
    anna.put(CURRENT, b"v2")
    seen.wait_value(CURRENT, b"v2")
    assert seen.last(denied) is None
    assert seen.connections[-1].connected
    assert denied in seen.connections[-1].why
    assert anna.compare_and_set([], {CURRENT: None}) is Outcome.WRITTEN


def test_a_pipeline_can_do_its_work(
    guarded: tuple[EtcdServer, Path], open_as: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command of `rollout` for its own model, and none for another."""
    server, passwords = guarded
    login = ["--config-store", server.url, "--username", "ci", "--password-file", str(passwords / "ci")]
    coordinator = open_as("coordinator")
    coordinator.put(CURRENT, b"v1")
    for line in ("start yolo v2 --dry-run", "start yolo v2", "status yolo", "pause yolo", "resume yolo",
                 "advance yolo", "compare yolo", "abort yolo", "list yolo"):  # fmt: skip
        assert main(["rollout", *line.split(), *login]) == 0, capsys.readouterr().err
    assert main(["nodes", *login]) == 0
    assert main(["rollout", "start", "other", "v2", *login]) == 2
    assert "permission denied" in capsys.readouterr().err
    coordinator.compare_and_set([], {CURRENT: None, ROLLOUT: None})


def test_nobody_ends_what_lies_under_anothers_lease(guarded: tuple[EtcdServer, Path], open_as: Open) -> None:
    """Etcd lets whoever knows a lease's number try to end it: the right to write its keys is asked for."""
    server, passwords = guarded
    owner = open_as("node-press-1")
    lease = owner.lease(60)
    owner.put(presence_key("press-1"), b"here", lease)
    login = ("--user", f"node-press-10:{(passwords / 'node-press-10').read_text().strip()}")
    numbers = server.etcdctl(*login, "lease", "list").split()[3:]
    assert numbers
    for number in numbers:
        with pytest.raises(RuntimeError, match="permission denied"):
            server.etcdctl(*login, "lease", "revoke", number)
    assert owner.get(presence_key("press-1")).value == b"here"
    lease.revoke()


def test_again_and_forget(guarded: tuple[EtcdServer, Path], open_as: Open) -> None:
    """A second run changes nothing but what is new; who is forgotten gets in no more, and his keys are gone."""
    server, passwords = guarded
    roles(server, passwords, "node", "press-1", "press-2")
    roles(server, passwords, "ci", "yolo", "seg")
    assert may_write(open_as("ci"), rollout_key("seg"))
    node = open_as("node-press-2")
    node.put(report_key("press-2", "yolo"), b"{}")
    access = Access("node-press-2", password := passwords / "kept")
    password.write_text((passwords / "node-press-2").read_text())
    roles(server, passwords, "forget", "press-2")
    assert open_as("coordinator").list(f"{REPORTS}press-2/") == []
    late = EtcdConfigStore([server.endpoint], access=access)
    with pytest.raises(UsageError):
        late.get(CURRENT)
    late.close()
    assert may_write(open_as("node-press-1"), presence_key("press-1"))


@pytest.mark.parametrize("line", ["", "node", "node a/b", "node ..", "node -x", "coordinator x", "enables"])
def test_a_wrong_call_changes_nothing(guarded: tuple[EtcdServer, Path], line: str) -> None:
    """It says how it is used, and exits with 2."""
    with pytest.raises(subprocess.CalledProcessError) as failed:
        roles(*guarded, *line.split())
    assert failed.value.returncode == 2
    assert "roles.sh: " in failed.value.stderr


def test_passwords_are_for_their_owner(guarded: tuple[EtcdServer, Path]) -> None:
    """None is like another, and nobody else can read them."""
    files = sorted(guarded[1].glob("*"))
    texts = [path.read_text().strip() for path in files if path.name != "kept"]
    assert len(set(texts)) == len(texts) >= 5
    assert all(len(text) == 64 for text in texts)
    assert not any(path.stat().st_mode & 0o077 for path in files if path.name != "kept")


def test_known_by_certificate(tmp_path: Path) -> None:
    """Without passwords, which cost etcd much when a whole plant logs in at once: the common name is the user."""
    authority = Authority(tmp_path / "authority")
    identities = {name: authority.identity(name) for name in ("server", "root", "node-press-1")}
    secure = f"127.0.0.1:{free_port()}"
    flags = (
        "--cert-file", str(identities["server"].cert), "--key-file", str(identities["server"].key),
        "--client-cert-auth", "--trusted-ca-file", str(authority.cert),
    )  # fmt: skip
    root = {
        "NO_PASSWORDS": "1",
        "ETCDCTL_ENDPOINTS": f"https://{secure}",
        "ETCDCTL_CACERT": str(authority.cert),
        "ETCDCTL_CERT": str(identities["root"].cert),
        "ETCDCTL_KEY": str(identities["root"].key),
    }
    with EtcdServer(tmp_path / "server", *flags, secure=secure) as server:
        for line in ("root", "node press-1", "enable", "node press-1 press-2"):
            roles(server, tmp_path / "none", *line.split(), **root)
        own = identities["node-press-1"]
        store = open_store(f"etcd://{secure}", Access(tls=Tls(authority.cert, own.cert, own.key)))
        assert may_write(store, presence_key("press-1"))
        assert not may_write(store, presence_key("press-2"))
        seen = Recorder()
        store.watch([CURRENT], seen.on_entry, seen.on_connection)
        seen.wait_value(CURRENT, None)
        store.close()
    assert not (tmp_path / "none").exists()
