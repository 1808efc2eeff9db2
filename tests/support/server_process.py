# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the real servers of the tests share: a process that is started, frozen, killed, and brought back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class ServerProcess(ABC):
    """A server on ports and a data folder of its own, which outlive `kill`: `start` brings it back.

    Use it as a context manager. Start it from the main thread: it dies with the thread that started it.
    name: for what is said of it, and of its log file in `folder`. starts_s: how long it may take (seconds).
    """

    starts_s: float

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.kill()

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What starts it, in `folder`, which is there."""

    @abstractmethod
    def _serves(self) -> bool:
        """Whether it answers."""

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.launch()
        self.wait_until_it_serves()

    def launch(self) -> None:
        """Start it, and wait for nothing: a member of a cluster serves when there are others."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with_parent = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*with_parent, *self._command()], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_until_it_serves(self) -> None:
        """After `launch`; raises RuntimeError, with the end of its log, when it ends or takes longer than it may."""
        assert self._process is not None, f"{self._name} does not run"
        give_up = time.monotonic() + self.starts_s
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.kill()
                raise RuntimeError(f"{self._name} does not come up:\n{self._log_path.read_text()[-3000:]}")
            time.sleep(0.05)

    @property
    def _log_path(self) -> Path:
        return self._folder / f"{self._name}.log"

    def kill(self) -> None:
        """kill -9; the data stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop the process without a word to its clients, as a broken network does. When it returns, nothing runs.

        The signal alone isn't enough: until each of its threads has seen it, the server still answers.
        """
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, f"{self._name} does not run"
        self._process.send_signal(number)
