# SPDX-License-Identifier: AGPL-3.0-or-later
"""Kinds of sinks: those that come along, those of other packages, and what is said when one can't be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from edgeagent.config import ConfigError, parse_config
from edgeagent.sinks import log, registry
from edgeagent.sinks.registry import BUILT_IN, sink_names, sink_type

KNOWN = ", ".join(row.name for row in BUILT_IN)


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let other packages bring entry points: name="module:object"."""

    def bring(**points: str) -> None:
        found = [EntryPoint(name, value, registry.GROUP) for name, value in points.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints(found))
        registry._entry_points.cache_clear()

    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints(()))
    registry._entry_points.cache_clear()
    yield bring
    registry._entry_points.cache_clear()


def _problems(*sinks: Any) -> list[str]:
    line = {"name": "line-1", "model": "yolo", "source": {"url": "/x"}, "sinks": list(sinks)}
    with pytest.raises(ConfigError) as e:
        parse_config({"pipelines": [line]})
    return e.value.problems


def test_each_row_has_a_name_of_its_own() -> None:
    """What a configuration's `type` says."""
    assert len(set(KNOWN.split(", "))) == len(BUILT_IN)
    assert all(sink_type(row.name) is row for row in BUILT_IN)


def test_an_unknown_type_is_told_what_is_known(brought: Callable[..., None]) -> None:
    """Also what other packages bring; without importing them."""
    brought(sheet="a_module_that_is_not_there:SINK")
    assert sink_names() == [*(row.name for row in BUILT_IN), "sheet"]
    assert _problems({"type": "kafka"}, {"path": "/x"}) == [
        f"pipelines[0].sinks[0].type: 'kafka' is not known; allowed: {KNOWN}, sheet",
        f"pipelines[0].sinks[1].type: is missing; allowed: {KNOWN}, sheet",
    ]


def test_a_package_that_can_t_be_loaded_is_named(brought: Callable[..., None]) -> None:
    """Its fault is a mistake in the configuration that uses it, and of no other."""
    brought(sheet="a_module_that_is_not_there:SINK")
    (problem,) = _problems({"type": "sheet"})
    assert problem == (
        "pipelines[0].sinks[0].type: 'sheet', which the package ? brings, can't be loaded (ModuleNotFoundError: "
        f"No module named 'a_module_that_is_not_there'); allowed: repair the package, or one of {KNOWN}"
    )


@pytest.mark.parametrize(
    ("value", "found"), [("json:dumps", "a function"), ("edgeagent.sinks.log:SINK", "of type 'log'")]
)
def test_an_entry_point_of_something_else_is_refused(
    brought: Callable[..., None], value: str, found: str
) -> None:
    """It must be a SinkType whose type is the entry point's name."""
    brought(sheet=value)
    assert f"is no SinkType of this name but {found}; " in _problems({"type": "sheet"})[0]


def test_what_comes_along_can_t_be_replaced(brought: Callable[..., None]) -> None:
    """A package that brings a `log` of its own is not asked."""
    brought(log="a_module_that_is_not_there:SINK")
    assert sink_type("log") is log.SINK
    assert sink_names() == [row.name for row in BUILT_IN]
