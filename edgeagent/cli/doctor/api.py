# SPDX-License-Identifier: AGPL-3.0-or-later
"""The port of the API: free, and one that this user may have."""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.cli.doctor import reach
from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import OK, Finding, attempt
from edgeagent.errors import UnavailableError, UsageError
from edgeagent.web.listen import listen
from edgeagent.web.tls import ServerTls


def port(x: Examination) -> Iterator[Finding]:
    """Whether it can be listened on."""
    api = x.config.api
    if x.is_running:
        answer = (
            reach.ask(_near(api.host), api.port, "/healthz", tls=api.tls is not None) if api.port else None
        )
        if answer and answer.status == 200:
            yield Finding(OK, "api", f"the node that runs answers at {api.host} port {api.port}")
            return
    yield attempt("api", lambda: _free(x))


def _free(x: Examination) -> str:
    host, number = x.config.api.host, x.config.api.port
    if x.config.api.tls:
        ServerTls(x.config.api.tls)
    try:
        listen(host, number).close()
    except UsageError:
        raise
    except UnavailableError as e:
        if 0 < number < 1024 and "ermission" in e.why:
            todo = "set api.port above 1023, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
            raise UnavailableError(e.what, f"ports below 1024 are for root ({e.why})", todo) from e
        raise UnavailableError(e.what, e.why, f"{e.todo} (a node that runs already is one reason)") from e
    return f"{host} port {number} is free"


def _near(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
