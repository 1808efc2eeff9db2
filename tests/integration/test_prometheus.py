# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Prometheus over a real node: metrics by the rules of the trade, alerts, and each question of the dashboard."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from functools import partial
from pathlib import Path

import pytest
import yaml

from edgeagent.testing import wait_for
from tests.support.line import NodeHarness
from tests.support.monitoring import FOLDER, RULES, expressions
from tests.support.prometheus import MISSING, Prometheus

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def promtool(*args: str, given: bytes = b"") -> str:
    """What it says. Raises AssertionError when it objects."""
    done = subprocess.run(["promtool", *args], input=given, capture_output=True, timeout=120, cwd=FOLDER)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_rules_and_configuration() -> None:
    """Prometheus takes them, and the alerts come when they should and not before."""
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "edgeagent.rules.yml")
    promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("test", "rules", "edgeagent.rules.test.yml")


def test_a_node_that_is_scraped(tmp_path: Path) -> None:
    """Metrics that promtool has nothing against, frames and processor time by version, rules that hold, and an answer
    to whatever the dashboard asks."""
    with NodeHarness(tmp_path / "node") as node:
        node.publish("v1")
        node.promote("v1")
        node.start("v1")
        with urllib.request.urlopen(f"{node.url}/metrics", timeout=30) as answer:
            promtool("check", "metrics", given=answer.read())
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(FOLDER / "edgeagent.rules.yml")]
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [node.url.removeprefix("http://")]
        with Prometheus(tmp_path / "prometheus", config) as prometheus:
            query = 'sum by (version) (edgeagent_frames_total{job="edgeagent"}) > 0'
            assert [labels for labels, _ in wait_for(lambda: prometheus.values(query), "frames")] == [
                {"version": "v1"}
            ]
            query = 'edgeagent_worker_cpu_seconds_total{kind="engine", version="v1"} > 0'
            assert wait_for(lambda: prometheus.values(query), "processor time")
            for query in (
                "edgeagent_version_memory_bytes > 1e7",
                'edgeagent_pipeline_state{state="running"} == 1',
                "edgeagent_state_disk_free_bytes > 0",
            ):
                wait_for(partial(prometheus.values, query), query)
            for who, asked in expressions():
                if not asked.startswith("label_values"):
                    prometheus.ask("query", query=filled_in(asked), who=who)
            assert wait_for(lambda: healths(prometheus) == ["ok"] * len(RULES), "the rules hold")


def healths(prometheus: Prometheus) -> list[str]:
    """How each rule does."""
    return [rule["health"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


def filled_in(asked: str) -> str:
    """As Grafana asks it, with everything chosen."""
    return re.sub(r"\$\w+", ".*", asked.replace("$__rate_interval", "1m"))
