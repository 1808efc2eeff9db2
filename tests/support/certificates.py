# SPDX-License-Identifier: AGPL-3.0-or-later
"""Certificates for tests: an authority, a server (127.0.0.1 and localhost) and a client."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, PEM files; both: the two in one file."""

    cert: Path
    key: Path
    both: Path


class Authority:
    """Signs identities; its own certificate is `cert`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.cert, self._key = folder / "ca.pem", folder / "ca.key"
        _openssl(
            "req", "-x509", *_new_key(self._key), "-out", self.cert, "-days", "2", "-subj", "/CN=test authority",
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip

    def identity(self, name: str, days: int = 2) -> Identity:
        """A new key with a certificate for `name`, 127.0.0.1 and localhost, in place of what it had.

        days: how long it is valid; -1: it has expired.
        """
        cert, key, both = (self._folder / f"{name}{end}" for end in (".pem", ".key", ".both.pem"))
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1\n")
        _openssl("req", *_new_key(key), "-out", request, "-subj", f"/CN={name}")
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self._key, "-CAcreateserial", "-days", days,
            "-extfile", extensions, "-out", cert,
        )  # fmt: skip
        both.write_text(key.read_text() + cert.read_text())
        return Identity(cert, key, both)


def _new_key(path: Path) -> tuple[str | Path, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path)


def _openssl(*args: str | int | Path) -> None:
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)
