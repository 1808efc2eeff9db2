# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Prometheus for tests."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.etcd import free_port
from tests.support.server_process import ServerProcess

MISSING = (
    "prometheus and promtool are missing: apt install prometheus"
    if not (shutil.which("prometheus") and shutil.which("promtool"))
    else ""
)
"""Why there is none, "" where there is one."""


class Prometheus(ServerProcess):
    """One that scrapes each second. config: as in its file; rule files by their absolute names."""

    starts_s = 60.0

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        super().__init__("prometheus", folder)
        self._listens = f"127.0.0.1:{free_port()}"
        self._config = config

    def _command(self) -> Sequence[str]:
        file = self._folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(self._config))
        return [
            "prometheus", f"--config.file={file}", f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._listens}", "--log.level=warn",
        ]  # fmt: skip

    def _serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._listens}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def ask(self, path: str, **params: str) -> Any:
        """The `data` of an answer. Raises AssertionError, with what Prometheus says, when it refuses."""
        url = f"http://{self._listens}/api/v1/{path}?{urllib.parse.urlencode(params)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{params}: {e.read().decode()}") from e

    def values(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series."""
        found = self.ask("query", query=query)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]
