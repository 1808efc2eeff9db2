# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked of a node that runs: its fleet, what `doctor` makes of it, completion, `status --watch`."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeagent.cli import completion
from edgeagent.cli.doctor.checks import CHECKS
from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.main import main
from edgeagent.config import load_config
from edgeagent.testing import NodeRunner, wait_for
from tests.support.etcd import EtcdServer


def test_a_node_on_an_etcd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It leads the roll-outs, and says of the fleet what the command line says; `doctor` takes lock, port and presence
    for its own."""
    with EtcdServer(tmp_path / "etcd") as etcd, NodeRunner(tmp_path / "node") as node:
        node.config |= {"config_store": {"url": etcd.url}, "fleet": {"coordinate": True}}
        node.add_pipeline("line-1", "yolo", {"url": "synthetic://conveyor?fps=10"})
        node.start()

        def fleet() -> dict[str, object] | None:
            found = node.get("/api/fleet")
            return (
                dict(found)
                if found["coordinating"] and found["nodes"] and found["nodes"][0]["reports"]
                else None
            )

        found = wait_for(fleet, "a fleet of one node that leads")
        assert (found["leader"], found["rollouts"], found["broken"]) == ("node-under-test", [], {})
        assert main(["nodes", "--config-store", etcd.url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"nodes": found["nodes"], "idle": found["idle"]}

        config = load_config(node.config_path)
        x = Examination(config, node.config_path)
        assert node.process
        assert (x.runs_on, x.is_running) == (node.process.pid, True)
        said = {
            c.name: list(c.run(x))
            for c in CHECKS
            if c.name in ("config-store", "state-lock", "node-id-taken", "api")
        }
        assert [f.level for f in said["state-lock"] + said["api"]] == ["ok", "ok"]
        assert (x.presence is not None, said["node-id-taken"]) == (True, [])

        on_the_line = SimpleNamespace(params={"url": node.url})
        assert completion.models(on_the_line, "y") == ["yolo"]  # type: ignore[arg-type]

        command = [sys.executable, "-m", "edgeagent", "status", "--url", node.url, "--watch", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as watching, closing(watching.stdout):  # type: ignore[type-var]
            assert watching.stdout
            lines = [json.loads(watching.stdout.readline()) for _ in range(2)]
            watching.terminate()
        assert lines[0]["instance"] == lines[1]["instance"]
        assert lines[0] != lines[1]
