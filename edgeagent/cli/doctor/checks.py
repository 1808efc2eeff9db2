# SPDX-License-Identifier: AGPL-3.0-or-later
"""All checks, a row each, in the order in which they are made: what others build on comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgeagent.cli.doctor import (
    api,
    cameras,
    certificates,
    clock,
    config_store,
    golden,
    identity,
    limits,
    model_store,
    network,
    packages,
    receivers,
    runtimes,
    secrets,
    state,
    unit,
)
from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import Finding


@dataclass(frozen=True)
class Check:
    """name: as docs/troubleshooting.md has it. run: looks at one thing, and says it as soon as it is known."""

    name: str
    run: Callable[[Examination], Iterator[Finding]]


CHECKS = (
    Check("state-dir", state.writable),
    Check("disk-room", state.room),
    Check("state-kept", state.kept),
    Check("state-lock", state.locked),
    Check("disk-speed", state.speed),
    Check("node-id", identity.own_name),
    Check("locale", limits.characters),
    Check("open-files", limits.open_files),
    Check("memory", limits.memory),
    Check("unit", unit.unit),
    Check("secret-files", secrets.files),
    Check("token", secrets.token),
    Check("clear-text", secrets.clear_text),
    Check("proxy", network.proxies),
    Check("config-store", config_store.sources),
    Check("config-store-certificate", certificates.of_the_config_store),
    Check("node-id-taken", identity.alone),
    Check("model-store", model_store.model_store),
    Check("clock", clock.clock),
    Check("opencv", packages.opencv),
    Check("onnxruntime-builds", packages.onnx_runtime),
    Check("torch", packages.torch),
    Check("gpu", runtimes.gpu),
    Check("runtimes", runtimes.all_runtimes),
    Check("weights", runtimes.for_weights),
    Check("golden", golden.golden_sets),
    Check("sources", cameras.sources),
    Check("notify", receivers.notified),
    Check("shared-memory", limits.shared_memory),
    Check("certificate", certificates.of_the_api),
    Check("api", api.port),
)
