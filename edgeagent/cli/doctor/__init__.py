# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent doctor`: try a configuration for real. It changes nothing but files that it removes again.

A file for each area; checks.py has a row for each check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgeagent.cli.doctor.checks import CHECKS, Check
from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import FAIL, Finding
from edgeagent.config import Config

__all__ = ["Finding", "examine", "examine_with"]


def _nobody(check: str) -> None:
    """Nobody wants to know which check begins."""


def examine(
    config: Config, file: Path | None = None, looks_at: Callable[[str], None] = _nobody
) -> Iterator[tuple[str, Finding]]:
    """Try one thing after the other, by the names of the checks; each is said as soon as it is known.

    file: that the configuration was read from. looks_at: told of each check that begins.
    """
    yield from examine_with(Examination(config, file), CHECKS, looks_at)


def examine_with(
    x: Examination, checks: Sequence[Check], looks_at: Callable[[str], None] = _nobody
) -> Iterator[tuple[str, Finding]]:
    """The same by these checks. None stops the next, not even by a fault of its own."""
    for check in checks:
        looks_at(check.name)
        try:
            for finding in check.run(x):
                yield check.name, finding
        except Exception as e:  # noqa: BLE001 - an examination that ends in the middle says nothing of the rest
            text = f"the check itself failed: {type(e).__name__}: {e}"
            yield check.name, Finding(FAIL, check.name, text, "report it, with --debug")
