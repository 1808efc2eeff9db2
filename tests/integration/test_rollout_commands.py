# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent rollout` on a real etcd, with a coordinator that decides and nodes that pretend."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from edgeagent.cli.main import main
from edgeagent.core.directive import current_key, decode_directive
from edgeagent.core.fleet_report import Phase
from edgeagent.core.rollout import Status, rollout_key
from edgeagent.errors import NotFoundError, UnavailableError
from edgeagent.fleet.coordinator import Coordinator
from edgeagent.fleet.lead import Lead
from edgeagent.fleet.rollout_store import RolloutReader
from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.testing import wait_for
from tests.support.etcd import EtcdServer
from tests.support.pretended_nodes import PretendedNodes

NODES = [f"press-{i:02}" for i in range(8)]
LONG_S = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """One for all."""
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


class Plant:
    """A fleet with `model` v1 and the coordinator that leads it, each looking again and again."""

    def __init__(self, server: EtcdServer, model: str) -> None:
        self.model = model
        self.store = EtcdConfigStore([server.endpoint])
        self.nodes = PretendedNodes(self.store, model, NODES)
        self.access = ("--config-store", server.url)
        self._ended = threading.Event()
        self._lead = Lead(self.store)
        self._coordinator = Coordinator(self.store, self._lead)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: list[BaseException] = []

    def __enter__(self) -> Plant:
        self.store.put(current_key(self.model), b"v1")
        self.nodes.act()
        self._thread.start()
        wait_for(lambda: self._lead.expected, "a coordinator that leads", LONG_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._lead.resign()
        self.store.close()
        assert not self._failure

    def _run(self) -> None:
        try:
            while not self._ended.wait(0.05):
                self._look()
        except BaseException as e:
            self._failure.append(e)
            raise

    def _look(self) -> None:
        try:
            self.nodes.act()
            self._lead.look()
            self._coordinator.look()
        except UnavailableError:  # the test stopped etcd
            return

    def command(self, verb: str, *args: str) -> list[str]:
        """`edgeagent rollout VERB` of this model."""
        return ["rollout", verb, self.model, *args, *self.access]

    @property
    def current(self) -> str:
        """What `current` says."""
        entry = self.store.get(current_key(self.model))
        return decode_directive(entry.key, entry.value or b"", entry.revision).version

    def awaits(self, status: Status, wave: int) -> None:
        """The roll-out is there, sooner or later."""
        reader = RolloutReader(self.store, self.model)

        def is_there() -> bool:
            try:
                rollout = reader.read().rollout
            except NotFoundError:  # it is yet to begin
                return False
            return (rollout.status, rollout.wave) == (status, wave)

        wait_for(is_there, f"a roll-out that is {status} in wave {wave}", LONG_S)


def test_a_good_version_reaches_all(server: EtcdServer, capsys: pytest.CaptureFixture[str]) -> None:
    """In waves; exit 0 once `current` is the version. What it says on the way are whole sentences."""
    with Plant(server, "good") as plant:
        code = main([*plant.command("start", "v2"), "--waves", "1,50%,100%", "--bake", "0.2", "--wait"])
        out, err = capsys.readouterr()
        assert (code, plant.current) == (0, "v2"), err
        assert out.endswith("done: good v2 is what `current` says now\n")
        assert err.splitlines()[-1].endswith("done in wave 3 of 3 (100%), nodes that serve it: 8")
        wait_for(lambda: set(plant.nodes.serving().values()) == {"v2"}, "all with v2", LONG_S)
        assert main(plant.command("status")) == 0
        assert "done in wave 3 of 3 (100%)" in capsys.readouterr().out
        assert main([*plant.command("start", "v1"), "--dry-run"]) == 0  # it made room for the next one


def test_one_that_sees_badly_halts_at_the_canary(
    server: EtcdServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 with the node on stderr; nobody has it then."""
    with Plant(server, "bad") as plant:
        plant.nodes.becomes = lambda node, version: Phase.ROLLED_BACK
        code = main([*plant.command("start", "v2"), "--canary", "press-03", "--wait"])
        err = capsys.readouterr().err
        assert code == 1
        assert err.splitlines()[-1].startswith("error: roll-out 20")
        assert "bad to v2: aborted: press-03 went back from it" in err.splitlines()[-1]
        assert plant.current == "v1"
        assert set(plant.nodes.serving().values()) == {"v1"}


def test_current_written_by_hand_wins(server: EtcdServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1: somebody decided otherwise."""
    with Plant(server, "hand") as plant:

        def write() -> None:
            plant.awaits(Status.BAKING, 0)
            plant.store.put(current_key("hand"), b"v9")

        writer = threading.Thread(target=write)
        writer.start()
        code = main([*plant.command("start", "v2"), "--wait"])
        writer.join()
        assert (code, plant.current) == (1, "v9")
        assert "superseded: somebody wrote `current`" in capsys.readouterr().err


def test_an_operator_has_the_last_word(server: EtcdServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Each wave waits for `advance`; paused, resumed, and taken back in the second wave."""
    with Plant(server, "word") as plant:
        manual = ["--waves", "2,4,100%", "--bake", "0", "--approval", "manual"]
        assert main([*plant.command("start", "v2"), *manual]) == 0
        plant.awaits(Status.BAKING, 0)
        assert main(plant.command("start", "v3")) == 1  # two at once
        assert "is under way, it is baking" in capsys.readouterr().err
        assert main(plant.command("advance")) == 0
        plant.awaits(Status.BAKING, 1)
        assert main(plant.command("pause", "--reason", "shift change")) == 0
        capsys.readouterr()
        assert main([*plant.command("status"), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["rollout"]["status"], said["stable"], said["pending"]) == ("paused", 4, [])
        assert said["rollout"]["why"].endswith(": shift change")
        assert main(plant.command("resume")) == 0
        plant.awaits(Status.BAKING, 1)
        assert main([*plant.command("compare"), "--json"]) == 0
        assert main(plant.command("abort", "--reason", "no")) == 0
        plant.awaits(Status.ABORTED, 1)
        assert set(plant.nodes.serving().values()) == {"v1"}
        assert main([*plant.command("start", "v3"), "--dry-run"]) == 0


@contextmanager
def typed(args: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, which hears Ctrl-C also where the tests were told to ignore it."""
    command = [sys.executable, "-m", "edgeagent", *args]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], text: str) -> str:
    """Read its stderr up to a line with this text."""
    assert process.stderr
    seen: list[str] = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"no {text!r} in {''.join(seen)}")


def test_who_waits_outlasts_the_store_and_may_go(tmp_path: Path) -> None:
    """etcd is stopped for a while; then somebody presses Ctrl-C, and the roll-out goes on without him."""
    with EtcdServer(tmp_path) as server, Plant(server, "away") as plant:
        start = plant.command(
            "start", "v2", "--waves", "1,50%,100%", "--bake", "0", "--approval", "manual", "--wait"
        )
        with typed(start) as process:
            until(process, "is baking")
            server.stop()
            until(process, "it is tried again")
            server.start()
            until(process, "the config store answers again")
            process.send_signal(signal.SIGINT)
            assert "rollout status away --watch" in until(
                process, "it goes on, and nobody waits for it any more"
            )
            assert process.wait(LONG_S) == 1
        assert plant.store.get(rollout_key("away")).value is not None
        assert main(plant.command("advance")) == 0
        plant.awaits(Status.BAKING, 1)
