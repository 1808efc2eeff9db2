# SPDX-License-Identifier: AGPL-3.0-or-later
"""`rollout start --wait`: follow a roll-out to its end, for scripts."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import typer

from edgeagent.cli.render_rollout import show_progress
from edgeagent.cli.tables import printable
from edgeagent.cli.watching import looks
from edgeagent.core.rollout import ENDED, Status
from edgeagent.core.rollout_progress import Progress, progress_of
from edgeagent.errors import EdgeAgentError
from edgeagent.fleet.rollout_store import RolloutReader
from edgeagent.intent.port import KeyValueStore

_LINE_EVERY_S = 10.0
"""Time between two lines of one wave, where stderr is a file, which keeps each."""
_TODO = {
    Status.PAUSED: "edgeagent rollout status, then resume, advance or abort {model}",
    Status.SUPERSEDED: "see who wrote `current`",
}


def wait_for(store: KeyValueStore, model: str, id: str, as_json: bool) -> None:
    """Say on stderr how it goes, until the roll-out is done.

    as_json: how it stands at the end, on stdout. Raises EdgeAgentError when it halts before: paused, aborted or
    superseded; also what `RolloutReader.read` raises, but for UnavailableError: the store is awaited. Interrupted, it
    leaves the roll-out as it is.
    """
    try:
        progress = _followed(store, model, id)
    except KeyboardInterrupt as e:
        raise EdgeAgentError(
            f"roll-out {id} of {model}",
            "it goes on, and nobody waits for it any more",
            f"edgeagent rollout status {model} --watch follows it, edgeagent rollout abort {model} ends it",
        ) from e
    if as_json:
        show_progress(model, progress, as_json=True)
    rollout = progress.rollout
    if rollout.status is not Status.DONE:
        todo = _TODO.get(rollout.status, "").format(model=model)
        why = f"{rollout.status}: {rollout.why}" if rollout.why else str(rollout.status)
        raise EdgeAgentError(f"roll-out {id} of {model} to {rollout.plan.version}", why, todo)
    if not as_json:
        typer.echo(f"done: {model} {rollout.plan.version} is what `current` says now")


def _followed(store: KeyValueStore, model: str, id: str) -> Progress:
    """Its end, or where it halts."""
    reader, lines = RolloutReader(store, model, id), _Lines()
    for seen in looks(reader.read):
        progress = progress_of(seen.rollout, seen.fleet, seen.has_leader)
        lines.say(model, progress)
        if seen.rollout.status in ENDED or seen.rollout.status is Status.PAUSED:
            break
    lines.end()
    return progress


class _Lines:
    """Progress on stderr: a line for each state and wave; on a terminal the line of a wave is written over."""

    def __init__(self) -> None:
        self._on_terminal = _on_terminal()
        self._said = ""
        self._of: tuple[object, ...] = ()
        self._at = 0.0
        self._notes: tuple[str, ...] = ()

    def say(self, model: str, progress: Progress) -> None:
        """What is new since the last time."""
        rollout, now = progress.rollout, time.monotonic()
        for note in progress.notes:
            if note not in self._notes:
                self.end()
                typer.echo(f"warning: {printable(note)}", err=True)
        self._notes = progress.notes
        if progress.summary == self._said:
            return
        of = rollout.status, rollout.wave, rollout.why
        if of == self._of and not self._on_terminal and now - self._at < _LINE_EVERY_S:
            return
        if of != self._of:
            self.end()
        begin, end = ("\r\x1b[K", "") if self._on_terminal else ("", "\n")
        when = datetime.now(UTC).strftime("%H:%M:%S")
        sys.stderr.write(f"{begin}{when}Z {model}: {printable(progress.summary)}{end}")
        sys.stderr.flush()
        self._said, self._of, self._at = progress.summary, of, now

    def end(self) -> None:
        """The line that stands there stays."""
        if self._on_terminal and self._said:
            sys.stderr.write("\n")
            self._said = ""


def _on_terminal() -> bool:
    return sys.stderr.isatty()
