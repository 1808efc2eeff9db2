# SPDX-License-Identifier: AGPL-3.0-or-later
"""The runtimes that could infer here: installed, importable, on the device that is asked for, for the weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import FAIL, OK, WARN, Finding, failure, remedy
from edgeagent.config import EngineConfig
from edgeagent.errors import EdgeAgentError, UnavailableError
from edgeagent.runtimes.registry import RuntimeRow, broken_plugins, runtimes
from edgeagent.runtimes.variants import (
    distribution_versions,
    has_cuda,
    is_installed,
    missing,
    split_device,
    variants,
)

IMPORT_TIMEOUT_S = 120


def all_runtimes(x: Examination) -> Iterator[Finding]:
    """Each that could work here; those that do go into `x.works`."""
    engine = x.config.engine
    for row in runtimes():
        finding = _runtime(row, engine)
        if finding is not None:
            yield finding
            if finding.level == OK and is_installed(row):
                x.works.add(row.name)
    for name, why in broken_plugins().items():
        yield Finding(WARN, f"runtime {name}", why, "install or remove its package")
    if not x.works and engine.backend == "auto":
        text = f"none works here on device {engine.device}"
        yield Finding(FAIL, "runtimes", text, "set engine.device: auto, or install edgeagent again")


def gpu(x: Examination) -> Iterator[Finding]:
    """Whether there is one where one is asked for."""
    device = x.config.engine.device
    if device.startswith("cuda") and not has_cuda():
        yield Finding(
            FAIL,
            "engine.device",
            f"{device}, and this machine shows no NVIDIA GPU (no /dev/nvidiactl)",
            "install its driver (nvidia-smi must work); in a container --gpus all",
        )


def for_weights(x: Examination) -> Iterator[Finding]:
    """Whether what works here can run the versions that are aspired."""
    engine = x.config.engine
    for model, manifest in x.manifests.items():
        weights = manifest.weights
        subject, source = f"runtime for {model}", weights.format
        try:
            ways = variants(source, engine.backend, engine.device, [f.format for f in manifest.alternates])
        except EdgeAgentError as e:
            yield failure(subject, e)
            continue
        if x.works and not any(way.backend in x.works for way in ways):
            names = ", ".join(sorted({way.backend for way in ways}))
            text = f"{model} has weights in {source}, which {names} could run; none of these works here"
            yield Finding(
                FAIL, subject, text, "see what is said of these runtimes; or publish an .onnx of it"
            )


def _runtime(row: RuntimeRow, engine: EngineConfig) -> Finding | None:
    """What is to be said of one runtime; None of one that is not here and could do nothing here."""
    subject, chosen = f"runtime {row.name}", engine.backend == row.name
    bad = FAIL if chosen else WARN  # with `auto`, one that works is enough
    could = not _kinds_of_device(engine.device).isdisjoint(row.precisions)
    if not chosen and engine.backend != "auto":
        return _passed_over(row, engine.backend)
    if not is_installed(row):
        error = missing(row.name)
        if chosen or could:
            optional = not chosen and (row.extra or row.install)
            return Finding(OK if optional else bad, subject, error.why, error.todo)
        return None
    versions = _versions(row)
    if not could:
        wants = f"runs on {' and '.join(row.precisions)}, which this machine or engine.device does not give"
        todo = "set engine.device: auto, or another engine.backend" if chosen else ""
        return Finding(bad, subject, f"{versions}; {wants}{'' if chosen else ': not used'}", todo)
    try:
        devices = _devices(row)
    except UnavailableError as e:
        return Finding(bad, subject, f"{e.what}: {e.why}", remedy(e.why) or e.todo)
    found = f"{versions}, on {', '.join(devices) or 'no device of this machine'}"
    if not any(_is_wanted(device, engine.device) for device in devices):
        other = f", or {row.cuda_remedy}" if row.cuda_remedy else ""
        return Finding(bad, subject, f"{found}, not on {engine.device}", f"set engine.device: auto{other}")
    return Finding(OK, subject, found)


def _passed_over(row: RuntimeRow, backend: str) -> Finding | None:
    """What is to be said of a runtime when another one is named: it won't run, whatever it could."""
    if not is_installed(row):
        return None
    return Finding(OK, f"runtime {row.name}", f"{_versions(row)}; not tried, for engine.backend is {backend}")


def _versions(row: RuntimeRow) -> str:
    return ", ".join(f"{name} {v}" for name, v in distribution_versions(row.distributions).items())


def _kinds_of_device(wanted: str) -> set[str]:
    """The kinds of device that this machine may use for `engine.device`."""
    kind, _ = split_device(wanted)
    return {kind} if kind != "auto" else {"cpu", "cuda"} if has_cuda() else {"cpu"}


def _is_wanted(device: str, wanted: str) -> bool:
    """Whether a device that a runtime found is that of `engine.device`; without a number it may be any of its kind."""
    return wanted in ("auto", device, device.partition(":")[0]) or device == wanted.partition(":")[0]


def _devices(row: RuntimeRow) -> list[str]:
    """In a process of its own: this one stays free of runtimes, and a crash while importing is survived."""
    what = f"import of {row.name}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgeagent.runtimes.probe", row.name],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise UnavailableError(
            what, f"took more than {IMPORT_TIMEOUT_S} s", "is the machine overloaded?"
        ) from e
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1]
        raise UnavailableError(what, why, "install its package again, in a fresh environment")
    return [str(device) for device in json.loads(done.stdout.strip().splitlines()[-1])]
