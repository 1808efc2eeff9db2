# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's handle on one worker: spawn, talk, watch, kill, and see that it is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache

import structlog

from edgeagent.core.text import clean, cut
from edgeagent.util.liveness import liveness_clock
from edgeagent.util.process_use import ProcessUse
from edgeagent.workers.bootstrap import LEAST_NICE, lower_priority
from edgeagent.workers.channel import channel_pair
from edgeagent.workers.environment import worker_environment
from edgeagent.workers.limits import WATCH_S, WorkerLimits, WorkerUsage
from edgeagent.workers.messages import Message
from edgeagent.workers.node_channel import NodeChannel
from edgeagent.workers.system_calls import exit_fd

_log = structlog.get_logger(__name__)
_STDERR_LINES = 20
_STDERR_BYTES = 8192
_LINE_CHARS = 1000
_SENT = frozenset((signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT))
"""Signals that somebody sends; others (SIGSEGV, SIGABRT, SIGILL, ...) a process brings upon itself."""


@dataclass(frozen=True)
class Exit:
    """How a worker ended: by exit code, or negative by signal; with its last words on stderr.

    by_node: the node killed it, for a reason that stands in the last words.
    """

    code: int
    last_words: str
    by_node: bool = False

    @property
    def from_outside(self) -> bool:
        """Whether somebody else's signal ended it, such as an operator's or that of the kernel when memory is short:
        the machine's doing, as far as one can know."""
        return not self.by_node and -self.code in _SENT

    def __str__(self) -> str:
        how = f"killed by {_signal_name(-self.code)}" if self.code < 0 else f"exit code {self.code}"
        if self.from_outside:
            how += " from outside"
        last = self.last_words.strip().splitlines()
        return f"{how} ({cut(last[-1].strip(), 300)})" if last else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal, most of which have no name
        return f"signal {number}"


@dataclass(frozen=True)
class WorkerProgram:
    """What a worker runs. kind: as the status shows it; module: its entry point; libraries: names of modules that it
    imports before its task is known; environment: what is set for it; variables: names of those that it gets from the
    node's own environment, beside what any process needs; low_priority: from its first instant, for starting Python and
    importing would cost the line frames, too; start_nice: how low at first, for one that lowers itself once it has
    started."""

    kind: str
    module: str
    libraries: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    variables: Sequence[str] = ()
    low_priority: bool = False
    start_nice: int = LEAST_NICE


class WorkerProcess:
    """One child process, spawned (never forked) from the thread of the event loop.

    on_message(message) is called for each message; on_exit(exit) exactly once, when the process has ended and
    is reaped, so that nothing of it touches shared memory any more. There is no gentle stop: a worker
    holds nothing that a kill could spoil. Without a `task` it waits for `adopt`.

    limits: looked at all the time, and may be replaced; None: none, while it waits. They are measured in time in which
    the node itself has run (`util.liveness`).
    """

    def __init__(
        self,
        program: WorkerProgram,
        task: Message | None,
        on_message: Callable[[Message], None],
        on_exit: Callable[[Exit], None],
        limits: WorkerLimits | None = None,
    ) -> None:
        self.kind = program.kind
        self.limits = limits
        self._clock = liveness_clock()
        self._owes_since: float | None = None
        self._last_heard = self._clock.now()
        self._heard_once = False
        self._on_message = on_message
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._partial_line = b""
        self._kill_reason = ""
        self._gone = asyncio.Event()
        ours, theirs = channel_pair()
        # What fails on the way (no descriptors left, a task that fits no message) leaves no process behind.
        with theirs, ExitStack() as undo:
            undo.callback(ours.close)
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    program.module,
                    str(theirs.fileno()),
                    str(os.getpid()),
                    *program.libraries,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # Ctrl-C at the terminal is the node's to handle. No session of its own: where the kernel shares the
                # processor out by session (autogroup), a low priority would count for nothing between two of them.
                process_group=0,
                env={**worker_environment(program.variables, os.environ), **program.environment},
            )
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self.pid = self._process.pid
            if program.low_priority:
                self._lower_priority(program.start_nice)
            assert self._process.stderr is not None
            undo.callback(self._process.stderr.close)
            self._stderr_fd = self._process.stderr.fileno()
            os.set_blocking(self._stderr_fd, False)
            self._exit_fd = exit_fd(self.pid)
            undo.callback(os.close, self._exit_fd)
            self._channel = NodeChannel(ours, self._heard, self._closed)
            undo.callback(self._channel.close)
            if task is not None:
                self.send(task)
            undo.pop_all()
        self._loop.add_reader(self._stderr_fd, self._read_stderr)
        self._loop.add_reader(self._exit_fd, self._ended)
        self._use = ProcessUse(self.pid)
        self._watch_timer = self._loop.call_later(WATCH_S, self._watch)

    def adopt(
        self,
        task: Message,
        on_message: Callable[[Message], None],
        on_exit: Callable[[Exit], None],
        limits: WorkerLimits,
    ) -> None:
        """Give a worker that waits, and is alive, its task, and those who hear of it from now on."""
        self._last_heard = self._clock.now()
        self._on_message, self._on_exit, self.limits = on_message, on_exit, limits
        try:
            self.send(task)
        except ValueError:  # too long: as in the constructor, no process stays behind
            self.kill("no task")
            raise

    @property
    def alive(self) -> bool:
        """False once the process is reaped."""
        return not self._gone.is_set()

    @property
    def silent_s(self) -> float:
        """Seconds since the worker last said anything, or was given its task."""
        return self._clock.now() - self._last_heard

    def owes_answer(self, owes: bool) -> None:
        """From now on it owes the answer that it should give next, or none. For whoever asks it."""
        self._owes_since = self._clock.now() if owes else None

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send without blocking; nothing happens when the worker is gone."""
        self._channel.send(message, fds)

    def kill(self, why: str = "") -> None:
        """SIGKILL, also for what it started; `on_exit` follows. Idempotent.

        why: what the worker did or failed to do; "" when it is gone already, or nobody asks any more."""
        if self.alive:
            self._kill_reason = self._kill_reason or why
            self._kill_group()

    async def end(self, why: str = "") -> None:
        """Kill, and return when the process is gone and `on_exit` was called."""
        self.kill(why)
        await self._gone.wait()

    def memory_bytes(self) -> int:
        """Resident memory (RSS) now; 0 when it is gone."""
        return self._use.memory_bytes()

    def cpu_seconds(self) -> float:
        """Processor time that it has had; 0 when it is gone."""
        return self._use.cpu_seconds()

    def _lower_priority(self, nice: int) -> None:
        try:
            lower_priority(self.pid, nice)
        except ProcessLookupError:  # killed already
            pass
        except OSError as e:
            _warn_of_priority(str(e.strerror))

    def _watch(self) -> None:
        self._watch_timer = self._loop.call_later(WATCH_S, self._watch)
        if self.limits is None:
            return
        usage = WorkerUsage(
            memory_bytes=0 if self.limits.memory_bytes is None else self.memory_bytes(),
            silent_s=self.silent_s,
            owing_s=0.0 if self._owes_since is None else self._clock.now() - self._owes_since,
            heard=self._heard_once,
            starved_s=self._use.starved_s(self.silent_s),
        )
        if why := self.limits.exceeded(usage):
            self.kill(why)

    def _heard(self, message: Message) -> None:
        self._last_heard, self._heard_once = self._clock.now(), True
        self._on_message(message)

    def _closed(self, why: str) -> None:
        self.kill(why)

    def _read_stderr(self) -> None:
        try:
            data = os.read(self._stderr_fd, _STDERR_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._stderr_fd)
            return
        *lines, self._partial_line = (self._partial_line + data).split(b"\n")
        self._partial_line = self._partial_line[-4096:]
        if len(lines) > _STDERR_LINES:  # more at once than anybody reads, and each costs the event loop time
            _log.info("worker.output_cut", kind=self.kind, pid=self.pid, lines=len(lines) - _STDERR_LINES)
        for line in lines[-_STDERR_LINES:]:
            text = clean(line.decode("utf-8", "replace").rstrip(), _LINE_CHARS)
            if text:
                self._stderr.append(text)
                _log.info("worker.output", kind=self.kind, pid=self.pid, text=text)

    def _kill_group(self) -> None:
        """The worker and what it started. Only until it is reaped: then its number may be another's."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _ended(self) -> None:
        self._kill_group()  # what it left behind may hold shared memory, too
        code = self._process.wait()
        self._use.close()
        self._watch_timer.cancel()
        self._loop.remove_reader(self._exit_fd)
        os.close(self._exit_fd)
        # What it said before its end is still in the pipes.
        self._channel.drain()
        self._channel.close()
        self._read_stderr()
        self._loop.remove_reader(self._stderr_fd)
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._gone.set()  # whoever waits for it goes on after `on_exit`
        rest = clean(self._partial_line.decode("utf-8", "replace"), _LINE_CHARS)
        words = "\n".join((*self._stderr, rest))
        self._on_exit(Exit(code, self._kill_reason or words, by_node=bool(self._kill_reason)))


@cache  # once
def _warn_of_priority(why: str) -> None:
    """It costs the line some speed while a version is prepared, and nothing else."""
    _log.warning(
        "worker.priority_kept",
        why=f"setpriority is denied ({why})",
        todo="allow the call: without it updates slow the line",
    )
