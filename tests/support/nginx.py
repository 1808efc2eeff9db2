# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real nginx before a node, which shows it below a path: once with the path taken off, once as it is."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.support.etcd import free_port
from tests.support.server_process import ServerProcess

MISSING = "" if shutil.which("nginx") else "nginx is missing: apt install nginx-light"
"""Why there is none, "" where there is one."""

_CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  proxy_set_header Host $http_host;
  server {{ listen 127.0.0.1:{keeps};  location {prefix}/ {{ proxy_pass {node}; }} }}
  server {{ listen 127.0.0.1:{strips}; location {prefix}/ {{ proxy_pass {node}/; }} }}
}}
"""


class Nginx(ServerProcess):
    """Its defaults, but for the header Host: as docs/operating.md says."""

    starts_s = 30.0

    def __init__(self, folder: Path, node: str, prefix: str) -> None:
        """node: its URL; prefix: such as `/line7`."""
        super().__init__("nginx", folder)
        self._node = node
        self._prefix = prefix
        self._keeps, self._strips = free_port(), free_port()

    @property
    def keeping(self) -> str:
        """The URL that hands the path on."""
        return f"http://127.0.0.1:{self._keeps}"

    @property
    def stripping(self) -> str:
        """The URL that takes the path off."""
        return f"http://127.0.0.1:{self._strips}"

    def _command(self) -> Sequence[str]:
        config = self._folder / "nginx.conf"
        fields = {"folder": self._folder, "node": self._node, "prefix": self._prefix}
        config.write_text(_CONFIG.format(keeps=self._keeps, strips=self._strips, **fields))
        return ["nginx", "-p", str(self._folder), "-e", str(self._folder / "error.log"), "-c", str(config)]

    def _serves(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._strips)) == 0
