# SPDX-License-Identifier: AGPL-3.0-or-later
"""The HTTP API: where it listens, who may ask, and for what (`api`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from edgeagent.config.api_changes import ApiChangesConfig
from edgeagent.config.hooks import HookConfig
from edgeagent.config.names import Name
from edgeagent.config.path_prefix import PathPrefix
from edgeagent.config.preview import PreviewConfig
from edgeagent.util.hosts import is_loopback
from edgeagent.util.settings import Section


class ApiTlsConfig(Section):
    """The API's certificate: PEM files, read anew when they change.

    cert_file, key_file: the certificate, and its key.
    client_ca_file: only clients that show a certificate of this authority are served.
    """

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None


class ApiConfig(Section):
    """The HTTP API. token_file: the bearer token; without one the API binds to loopback only.

    tls: https instead of http. hooks: webhooks by name, at /api/hooks/<name>; each has a secret of its own instead of
    the token. changes: of the configuration, through it. path_prefix: the path below which a reverse proxy shows the
    node, such as /line7.
    """

    token_file: Path | None = None  # before host, which is checked against it
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    tls: ApiTlsConfig | None = None
    hooks: dict[Name, HookConfig] = Field(default={})
    preview: PreviewConfig = PreviewConfig()
    changes: ApiChangesConfig = ApiChangesConfig()
    path_prefix: PathPrefix = ""

    @property
    def allows_changes(self) -> bool:
        """Whether the configuration may be changed through it: where not anybody on this machine may ask."""
        asks = self.token_file is not None or (self.tls is not None and self.tls.client_ca_file is not None)
        return asks if self.changes.allow is None else self.changes.allow

    @field_validator("host")
    @classmethod
    def _loopback_or_token(cls, host: str, info: ValidationInfo) -> str:
        if not is_loopback(host) and info.data.get("token_file", "") is None:
            raise ValueError(
                f"{host!r} can be reached from outside; allowed: 127.0.0.1, or any with api.token_file"
            )
        return host
