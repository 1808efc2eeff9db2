# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker that somebody else's signal ended: the same is tried again, and not for ever."""

from __future__ import annotations

import asyncio

import pytest

from edgeagent.core import interruption
from edgeagent.core.interruption import MAX_ENDS, PAUSES_S, pause_after
from edgeagent.errors import WeightsError, WorkerKilledError
from edgeagent.update.interruption import repeat_when_killed
from edgeagent.update.worker_task import TaskFailedError, TaskKilledError

KILLED = TaskKilledError("killed by SIGKILL from outside")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "PAUSES_S", (0.0,) * len(PAUSES_S))


def outcome(*ends: Exception | str) -> tuple[str, list[str]]:
    """What comes of work that ends like this, one try after the other; and what was said meanwhile."""
    tries, said = iter(ends), list[str]()

    async def work() -> str:
        end = next(tries)
        if isinstance(end, Exception):
            raise end
        return end

    found = asyncio.run(repeat_when_killed(work, said.append))
    assert next(tries, None) is None, "not all were needed"
    return found, said


@pytest.mark.parametrize(
    "killed", [KILLED, WorkerKilledError("version v2", "killed by SIGTERM from outside")]
)
def test_killed_by_somebody_else_it_is_begun_anew(killed: Exception) -> None:
    """And says why it waits, and when it goes on."""
    found, said = outcome(killed, killed, "done")
    assert found == "done"
    assert ["from outside; end 1 of 3" in said[0], said[1], "end 2 of 3" in said[2], said[3]] == [
        True,
        "",
        True,
        "",
    ]


def test_what_ends_in_the_same_place_time_and_again_has_itself_to_blame() -> None:
    """The machine may never have the memory that it takes."""
    with pytest.raises(TaskKilledError):
        outcome(*[KILLED] * MAX_ENDS)


@pytest.mark.parametrize("error", [TaskFailedError("killed by SIGSEGV"), WeightsError("version v2", "NaN")])
def test_a_failure_of_its_own_is_not_repeated(error: Exception) -> None:
    """A crash, a limit of the node, a refusal: it would come to the same."""
    with pytest.raises(type(error)):
        outcome(error)


def test_the_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is short now may be there in a while."""
    monkeypatch.undo()
    assert [pause_after(n) for n in range(1, MAX_ENDS + 1)] == [*PAUSES_S, None]
    assert sorted(PAUSES_S) == list(PAUSES_S)
