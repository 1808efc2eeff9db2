# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node as a process: what it imports and takes, who else wants its folder or port, its signals, its mistakes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeagent.testing import children, wait_for
from tests.support import deny_calls
from tests.support.etcd import free_port
from tests.support.line import NodeHarness, assert_seamless

PARENT_LIMIT_KB = 120 << 10


def resident_kb(pid: int) -> int:
    """Memory that a process has in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


def run_again(folder: Path, config: object) -> subprocess.CompletedProcess[str]:
    """`edgeagent run` on this configuration, which is to end by itself."""
    path = folder / "again.yaml"
    path.write_text(yaml.safe_dump(config))
    return subprocess.run(
        [sys.executable, "-m", "edgeagent", "run", "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr that says what went wrong."""
    assert "Traceback" not in done.stderr, done.stderr
    (found,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    return found


def test_parent_stays_small_and_imports_no_runtime(harness: NodeHarness) -> None:
    """The node process, with frames flowing and an etcd client loaded, maps no runtime and stays under 120 MB."""
    harness.publish("v1")
    harness.publish("v2")
    harness.promote("v1")
    node = harness.start("v1")
    harness.swap_to("v2")
    harness.wait_more(60)
    maps = Path(f"/proc/{node.pid}/maps").read_text()
    loaded = {Path(p).name for p in re.findall(r"(/\S+\.so\S*)", maps)}
    heavy = [name for name in loaded if re.search(r"torch|onnxruntime|cv2|opencv|openvino|nvinfer", name)]
    assert not heavy
    assert resident_kb(node.pid) < PARENT_LIMIT_KB
    node.stop()

    harness.config["config_store"]["url"] = f"etcd://127.0.0.1:{free_port()}"
    node = harness.start("v2")
    harness.wait_more(30)
    assert resident_kb(node.pid) < PARENT_LIMIT_KB


def test_signals(harness: NodeHarness) -> None:
    """SIGHUP takes over what can change, and nothing from a broken file; SIGTERM ends with 0 and leaves no worker."""
    harness.publish("v1")
    harness.promote("v1")
    node = harness.start("v1")
    assert node.process is not None
    path = node.config_path
    harness.wait_records(lambda r: len(r[-1:]) == 1 and bool(r[-1]["detections"]), "something found")

    path.write_text(path.read_text() + "\nnonsense: true\n")
    node.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the old one stays" in node.log.read_text(), "the mistake logged")
    assert harness.wait_more(5)[-1]["detections"]

    harness.config["pipelines"][0]["confidence"] = 0.95
    path.write_text(yaml.safe_dump(harness.config))
    node.process.send_signal(signal.SIGHUP)
    harness.wait_records(lambda r: not r[-1]["detections"], "the higher threshold in force")

    wait_for(
        lambda: sorted(w["kind"] for w in node.status()["workers"]) == ["capture", "engine", "spare"],
        "one worker of each kind",
    )
    # Of a worker that has just ended, a process is left for an instant.
    wait_for(lambda: len(children(node.pid)) == 3, "no other worker")
    workers = children(node.pid)
    assert node.stop() == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
    found = harness.records()
    assert [r["seq"] for r in found] == list(range(len(found)))


def test_system_calls_that_a_sandbox_denies(harness: NodeHarness) -> None:
    """Priorities are a nicety; the end of a worker and memory for frames are had another way. It serves and swaps."""
    calls = deny_calls.NUMBERS.get(os.uname().machine)
    if calls is None:
        pytest.skip("its system calls have other numbers")
    harness.prefix = [sys.executable, deny_calls.__file__, ",".join(calls)]
    harness.publish("v1")
    harness.publish("v2")
    harness.promote("v1")
    node = harness.start("v1")
    harness.swap_to("v2")
    assert "setpriority is denied" in node.log.read_text(), "of what prepared it, beside a line that serves"
    (killed,) = (w["pid"] for w in node.workers("engine") if w["version"] == "v2")
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: killed not in [w["pid"] for w in node.workers("engine")], "its end seen")
    harness.wait_more(10)
    workers = children(node.pid)
    assert node.stop() == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


def test_folder_and_port_belong_to_one_node(harness: NodeHarness) -> None:
    """A second node on the same state folder says so and ends; on the same port it serves frames, and says why it has
    no API, until the port is free."""
    harness.publish("v1")
    harness.promote("v1")
    node = harness.start("v1")
    port = int(node.url.rsplit(":", 1)[1])

    done = run_again(harness.folder, harness.config)
    assert done.returncode == 1
    assert "another node runs on it" in error_line(done)
    assert harness.config["node"]["state_dir"] in error_line(done)

    with NodeHarness(harness.folder / "other") as other:
        other.config |= {key: harness.config[key] for key in ("config_store", "model_store")}
        other.config["api"] = {"port": port}

        def free_the_port() -> list[dict[str, Any]]:
            found = other.wait_more(5)
            node.stop()
            return found

        with ThreadPoolExecutor(1) as operator:
            served = operator.submit(free_the_port)
            other.start()  # returns when its API answers
            assert_seamless(served.result())
        assert other.status()["pid"] == other.pid
        said = other.log.read_text()
        assert said.index("api.unavailable") < said.index("api.started")
        assert f"port {port}: the port is taken" in said
    assert_seamless(harness.records())


def test_every_mistake_of_a_configuration_at_once(tmp_path: Path) -> None:
    """Exit code 2, and each mistake with its path and what is allowed."""
    done = run_again(
        tmp_path,
        {
            "node": {"id": "a/b"},
            "config_store": {"url": "redis://x"},
            "engine": {"threads": -1, "backend": "magic"},
            "pipelines": [{"name": "p", "source": {"url": "gopher://x"}}],
            "update": {"probation": {"seconds": "long"}},
            "api": {"host": "0.0.0.0"},
            "nonsense": 1,
        },
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for path in (
        "node.id",
        "config_store.url",
        "engine.threads",
        "engine.backend",
        "pipelines[0].model",
        "pipelines[0].source.url",
        "update.probation.seconds",
        "api.host",
        "nonsense",
    ):
        assert path in done.stderr, path
    assert done.stderr.count("allowed") >= 8
