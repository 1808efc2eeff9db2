# SPDX-License-Identifier: AGPL-3.0-or-later
"""The error tree, by whose fault it is.

Each error says what happened, why, and what to do; `str()` joins the three in the form that the
command line prints after `error: `.
"""

from __future__ import annotations


class EdgeAgentError(Exception):
    """Base of every error that edgeagent raises on purpose.

    what: the thing that failed ("version yolo/v3"); why: the cause; todo: what the reader can do ("" if nothing).
    """

    def __init__(self, what: str, why: str, todo: str = "") -> None:
        super().__init__(what, why, todo)
        self.what = what
        self.why = why
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" + (f"; {self.todo}" if self.todo else "")


class UsageError(EdgeAgentError):
    """The operator's arguments or configuration are wrong (exit code 2)."""


class DirectiveError(EdgeAgentError):
    """The value of an intent key can't be decoded; nothing that serves changes."""


class RolloutError(EdgeAgentError):
    """What a key of the fleet holds can't be decoded; nothing that serves changes."""


class UnavailableError(EdgeAgentError):
    """A server, store, disk or camera can't be reached now; worth trying again later."""


class NotKeptError(EdgeAgentError):
    """What was asked for is done, but the disk doesn't take it: a restart may undo it."""


class UnauthorizedError(EdgeAgentError):
    """A request doesn't prove that it comes from who may ask for that."""


class ExpiredError(EdgeAgentError):
    """A request proves it, but was signed at another time: an old one sent again, or a clock is wrong."""


class ForbiddenError(EdgeAgentError):
    """Nobody may ask for that here: the configuration doesn't let it."""


class RateLimitError(EdgeAgentError):
    """One who is refused again and again is not heard for a while."""


class NotFoundError(EdgeAgentError):
    """The thing named does not exist there (a version, a key)."""


class ConflictError(EdgeAgentError):
    """The state does not allow it: a version exists already, nothing to roll back to."""


class IntegrityError(EdgeAgentError):
    """What was fetched is not what the manifest promised (hash, size, path, schema)."""


class WeightsError(EdgeAgentError):
    """The weights can't be read or are not acceptable (unsafe pickle, external data, unknown head)."""


class WorkerError(EdgeAgentError):
    """A child process died, hung, or ran over a limit."""


class WorkerKilledError(WorkerError):
    """A child process was ended by a signal from outside: the kernel's, when memory is short, or an operator's."""


class MissingExtraError(EdgeAgentError):
    """A feature needs an optional package that isn't installed; names the extra."""
