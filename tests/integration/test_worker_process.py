# SPDX-License-Identifier: AGPL-3.0-or-later
"""The handle on a worker, with real processes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from edgeagent.errors import WeightsError
from edgeagent.runtimes.variants import Variant
from edgeagent.serving.spare_worker import SpareWorker, libraries_of
from edgeagent.testing import wait_for
from edgeagent.util import liveness
from edgeagent.util.liveness import GAP_S, LivenessClock
from edgeagent.workers import inspect
from edgeagent.workers.bootstrap import can_raise_priority, raise_priority
from edgeagent.workers.inspect import inspect_weights
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Message
from edgeagent.workers.process import Exit, WorkerProcess, WorkerProgram
from edgeagent.workers.tasks.capture import CaptureSource
from edgeagent.workers.tasks.engine import LoadEngine, LoadFailed, LoadPlan
from tests.support.weights import detection_onnx

MODULE = "edgeagent.workers.capture"


def test_a_worker_that_cannot_be_told_its_task_leaves_nothing_behind() -> None:
    """A task that fits no message: the process, its pipes and their readers are gone again."""

    async def run() -> None:
        gc.collect()  # what tests before have left open goes now, and not in the middle
        before = len(os.listdir("/proc/self/fd"))
        task = CaptureSource("x" * (1 << 20), None, False, False, 5.0, 2.0, 0)
        with pytest.raises(ValueError, match="limit"):
            WorkerProcess(WorkerProgram("capture", MODULE), task, lambda message: None, lambda how: None)
        assert len(os.listdir("/proc/self/fd")) == before
        assert not [p for p in psutil.Process().children() if MODULE in " ".join(p.cmdline())]

    asyncio.run(run())


def test_a_worker_inherits_what_it_needs_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node's secrets are not among it."""
    monkeypatch.setenv("DATABASE_PASSWORD", "pa55")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    async def run() -> None:
        program = WorkerProgram("engine", MODULE, environment={"SET": "for it"}, variables=("CUDA_*",))
        worker = WorkerProcess(program, None, lambda message: None, lambda how: None)
        try:
            environ = Path(f"/proc/{worker.pid}/environ")  # empty for the instant in which it becomes Python
            given = wait_for(environ.read_bytes, "an environment").split(b"\0")
            assert {b"SET=for it", b"CUDA_VISIBLE_DEVICES=", b"PATH=" + os.environb[b"PATH"]} <= set(given)
            assert not [variable for variable in given if b"pa55" in variable]
        finally:
            await worker.end()

    asyncio.run(run())


def test_a_low_priority_counts_beside_the_line() -> None:
    """From the first instant; and in the node's own session, for Linux may weigh sessions before processes."""

    async def run() -> None:
        program = WorkerProgram("capture", MODULE, low_priority=True)
        worker = WorkerProcess(program, None, lambda message: None, lambda how: None)
        try:
            assert os.getpriority(os.PRIO_PROCESS, worker.pid) == 19
            assert psutil.Process(worker.pid).ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
            assert os.getsid(worker.pid) == os.getsid(0)
            assert os.getpgid(worker.pid) != os.getpgid(0)  # Ctrl-C is not for it
        finally:
            await worker.end()

    asyncio.run(run())


def test_a_worker_started_ahead_hears_its_settings_when_it_is_adopted() -> None:
    """Until then it imports what it will need, as far as that is there; who adopts it hears of its end."""

    async def run() -> None:
        ends: asyncio.Queue[Exit] = asyncio.Queue()
        libraries = ("edgeagent.runtimes.onnx.runtime", "a_package.that_is_not_installed")
        worker = WorkerProcess(
            WorkerProgram("engine", "edgeagent.workers.engine", libraries),
            None,
            lambda message: None,
            lambda how: None,
        )
        heard: asyncio.Queue[Message] = asyncio.Queue()
        variant = Variant("onnxruntime", "cpu", "fp32", "onnx")
        task = LoadEngine(LoadPlan(variant, Path("/nowhere.onnx"), {}, 1, 1), None)
        worker.adopt(task, heard.put_nowait, ends.put_nowait, WorkerLimits(None, 60.0, 60.0))
        async with asyncio.timeout(120):
            message = await heard.get()
            assert isinstance(message, LoadFailed)
            assert "nowhere.onnx" in message.why
            assert (await ends.get()).code == 0

    asyncio.run(run())


@pytest.mark.skipif(not can_raise_priority(), reason="may not raise a priority (CAP_SYS_NICE, or LimitNICE=)")
def test_a_spare_worker_waits_at_low_priority_until_it_is_needed() -> None:
    """Then that of all its threads is raised, whatever it is just importing."""

    async def run() -> None:
        spare = SpareWorker()
        program = WorkerProgram(
            "engine", "edgeagent.workers.engine", libraries_of("onnxruntime"), low_priority=True
        )
        spare.start(program)
        worker = spare.take()
        assert worker is not None
        assert spare.take() is None
        try:
            assert psutil.Process(worker.pid).nice() == 19
            raise_priority(0, worker.pid)
            assert psutil.Process(worker.pid).nice() == 0
            assert psutil.Process(worker.pid).ionice().ioclass != psutil.IOPRIO_CLASS_IDLE
        finally:
            await worker.end()
        spare.start(replace(program, libraries=()))
        left = spare.worker
        assert left is not None
        await spare.end()
        assert not left.alive

    asyncio.run(run())


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (WorkerLimits(1 << 20, 60.0, 60.0), "the limit is 1 MB"),
        (WorkerLimits(None, 60.0, 0.0), "no sign of life within 0 s"),
    ],
)
def test_a_worker_over_its_limits_is_killed(limits: WorkerLimits, why: str) -> None:
    """Whoever started it hears why."""

    async def run() -> None:
        ends: asyncio.Queue[Exit] = asyncio.Queue()
        program = WorkerProgram("capture", MODULE)
        worker = WorkerProcess(program, None, lambda message: None, ends.put_nowait, limits)
        async with asyncio.timeout(120):
            how = await ends.get()
        assert (how.code, worker.alive) == (-9, False)
        assert why in how.last_words

    asyncio.run(run())


def test_a_pause_of_the_whole_node_kills_no_worker() -> None:
    """After an hour in a freezer nobody was silent for too long; what is silent from then on is killed."""

    async def run() -> None:
        ends: asyncio.Queue[Exit] = asyncio.Queue()
        paused = [0.0]
        clock = LivenessClock(lambda: time.monotonic() + paused[0])
        liveness._clocks[asyncio.get_running_loop()] = clock
        limits = WorkerLimits(None, 60.0, start_s=2 * GAP_S)
        worker = WorkerProcess(
            WorkerProgram("capture", MODULE), None, lambda message: None, ends.put_nowait, limits
        )
        for _ in range(2):
            clock.beat()
            paused[0] += 3600
            clock.beat()
            worker._watch()
        assert (worker.alive, ends.empty()) == (True, True)
        async with asyncio.timeout(120):
            while ends.empty():
                clock.beat()
                await asyncio.sleep(0.05)
        how = await ends.get()
        assert "no sign of life within 2 s" in how.last_words
        assert not how.from_outside

    asyncio.run(run())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_whoever_hears_of_an_end_is_told_whose_doing_it_was(number: int) -> None:
    """The signal's sender is not the node; its own kill is told from that although the signal is the same."""

    async def run() -> None:
        for by_node in (False, True):
            ends: asyncio.Queue[Exit] = asyncio.Queue()
            program = WorkerProgram("capture", MODULE)
            worker = WorkerProcess(program, None, lambda message: None, ends.put_nowait)
            if by_node:
                worker.kill("it is not needed")
            else:
                os.kill(worker.pid, number)
            async with asyncio.timeout(120):
                how = await ends.get()
            assert (how.by_node, how.from_outside) == (by_node, not by_node)

    asyncio.run(run())


@pytest.mark.parametrize("by_itself", [False, True])
def test_what_a_worker_started_ends_with_it(tmp_path: Path, by_itself: bool) -> None:
    """A gate or a converter of another package may leave processes behind, which the node doesn't know."""
    pid_file = tmp_path / "pid"
    (tmp_path / "starts_another.py").write_text(
        "import pathlib, subprocess\n"
        f"new = pathlib.Path({str(pid_file)!r} + '.new')\n"
        "new.write_text(str(subprocess.Popen(['sleep', '600']).pid))\n"
        f"new.rename({str(pid_file)!r})\n"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), os.getenv("PYTHONPATH"))))

    async def run() -> None:
        ends: asyncio.Queue[Exit] = asyncio.Queue()
        program = WorkerProgram("capture", MODULE, ("starts_another",), {"PYTHONPATH": path})
        worker = WorkerProcess(program, None, lambda message: None, ends.put_nowait)
        async with asyncio.timeout(120):
            while not pid_file.exists():
                await asyncio.sleep(0.01)
            started = psutil.Process(int(pid_file.read_text()))
            if by_itself:
                os.kill(worker.pid, signal.SIGTERM)
            else:
                worker.kill()
            await ends.get()
        psutil.wait_procs([started], timeout=30)
        assert not started.is_running() or started.status() == psutil.STATUS_ZOMBIE

    asyncio.run(run())


def test_a_file_that_takes_too_much_memory_to_look_at_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process that reads it is killed, not the one that asked."""
    path = detection_onnx(tmp_path / "w.onnx")
    assert inspect_weights(path).format == "onnx"
    monkeypatch.setattr(inspect, "_MEMORY_BYTES", 1 << 20)
    monkeypatch.setattr(inspect, "_TIMES_ITS_SIZE", 0)
    with pytest.raises(WeightsError, match=r"the process that read it ended.*the limit is 1 MB"):
        inspect_weights(path)
