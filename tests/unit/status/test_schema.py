# SPDX-License-Identifier: AGPL-3.0-or-later
"""The schema of the status: what the interface's page promises, tolerance between releases, JSON whatever comes."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from edgeagent.core.gating import GateResult
from edgeagent.core.pairs import PairSummary
from edgeagent.core.tuning import Trial
from edgeagent.status.schema import (
    CandidateStatus,
    ModelStatus,
    PipelineStatus,
    Status,
    WorkerStatus,
    to_json,
)
from tests.support.statuses import a_status, an_outcome

PAGE = (Path(__file__).parents[3] / "docs" / "interface.md").read_text(encoding="utf-8")
STATUS = PAGE.partition("\n## Status\n")[2].partition("\n## ")[0]


def rows_after(line: str) -> dict[str, str]:
    """The table after a line of the page: the names in its first column, and the other column."""
    rows: dict[str, str] = {}
    for row in STATUS.partition(line)[2].lstrip("\n").splitlines():
        if not row.startswith("|"):
            break
        names, text = (cell.strip() for cell in row.split("|")[1:3])
        rows |= {name.partition(".")[0]: text for name in re.findall(r"`([^`]+)`", names)}
    return rows


def fields(kind: type) -> dict[str, Any]:
    """The fields of a model or a dataclass, with their types."""
    if issubclass(kind, BaseModel):
        return {f.serialization_alias or name: f.annotation for name, f in kind.model_fields.items()}
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def part_of(annotation: Any) -> type | None:
    """The object in a field, if it holds one: alone, in a list, as the value of a mapping."""
    if get_origin(annotation) in (list, dict, Union, UnionType):
        return next(filter(None, map(part_of, get_args(annotation))), None)
    has_fields = isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)
    )
    return annotation if has_fields else None


def spelled(text: str) -> dict[str, Any]:
    """The names in the first braces of a cell, such as `[{a, b: {c, d}}]`; a name with braces has its names within."""
    spans = [span for span in re.findall(r"`([^`]*)`", text) if "{" in span]
    return _names(re.findall(r"\w+|[{}:]", spans[0].partition("{")[2])) if spans else {}


def _names(tokens: list[str]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    name, is_value = "", False
    while (token := tokens.pop(0)) != "}":
        if token == "{":
            names[name] = _names(tokens)
        elif token not in (":", "or") and not is_value:
            names[name := token] = {}
        is_value = token == ":"
    return names


def compare(kind: type, page: dict[str, Any], where: str) -> None:
    """Fails unless both name the same fields; also within those whose fields the page spells out."""
    assert set(page) == set(fields(kind)), where
    for name, within in page.items():
        if (part := part_of(fields(kind)[name])) and within:
            compare(part, within, f"{where}.{name}")


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        ("unless named otherwise.\n", Status),
        ("`models.<m>`:\n", ModelStatus),
        ("`pipelines.<p>`:\n", PipelineStatus),
    ],
)
def test_the_page_and_the_schema_name_the_same_fields(before: str, kind: type) -> None:
    """In each table of docs/interface.md, "Status", and within the braces there."""
    page = rows_after(before)
    for part in ("tried", "gates", "pairs"):
        page.pop(part, None)
    compare(kind, {name: spelled(text) for name, text in page.items()}, kind.__name__)


def test_the_page_and_the_schema_name_the_same_fields_of_a_trial() -> None:
    """They have a row of their own."""
    compare(Trial, spelled(rows_after("`models.<m>`:\n")["tried"]), "tried")


def test_the_page_and_the_schema_name_the_same_fields_of_pairs() -> None:
    """They have a row of their own, too."""
    compare(PairSummary, spelled(rows_after("`models.<m>`:\n")["pairs"]), "pairs")


def test_the_page_and_the_schema_name_the_same_fields_of_a_gate() -> None:
    """They have a row of their own, too."""
    compare(GateResult, spelled(rows_after("`models.<m>`:\n")["gates"]), "gates")


def test_an_answer_of_another_release_is_read() -> None:
    """What it says more is left aside, what it doesn't say yet has its default."""
    answer = json.loads(to_json(a_status()))
    answer["weather"] = answer["models"]["yolo"]["active"]["mood"] = {"a": 1}
    answer["models"]["yolo"]["active"]["tried"][0]["price"] = 3
    answer["models"]["yolo"]["state"] = "DREAMING"
    for field in ("gate", "trial", "fetch", "gates"):
        del answer["models"]["yolo"]["candidate"][field]
    model = Status.model_validate(answer).models["yolo"]
    assert model.state == "DREAMING"
    assert model.candidate
    assert (model.candidate.version, model.candidate.gate) == ("v4", None)


def test_a_status_survives_the_wire() -> None:
    """What is written is what is read."""
    assert Status.model_validate_json(to_json(a_status())) == a_status()


def test_what_does_not_apply_is_left_out() -> None:
    """A spare worker has no version, a candidate that isn't being fetched no fetch; what may be null is null."""
    worker = WorkerStatus(pid=1, kind="spare", model="yolo", memory_bytes=2)
    doc = {"pid": 1, "kind": "spare", "model": "yolo", "memory_bytes": 2, "cpu_seconds": 0.0}
    assert json.loads(to_json(worker)) == doc
    candidate = CandidateStatus(
        version="v1", digest=None, stage="ASPIRED", attempt=1, seconds={}, error=None, retry_in_seconds=None
    )
    assert json.loads(to_json(candidate)) == {
        "version": "v1",
        "digest": None,
        "stage": "ASPIRED",
        "attempt": 1,
        "seconds": {},
        "error": None,
        "retry_in_seconds": None,
        "gates": [],
    }


def test_the_outcome_of_a_request_has_its_public_names() -> None:
    """`from` is a word of Python, and not the name of the field there."""
    assert list(json.loads(to_json(an_outcome()))) == ["model", "from", "to", "state", "active", "held"]


def test_a_text_that_is_no_unicode_does_not_hide_the_status() -> None:
    """A picture whose name is in Latin-1 comes with lone surrogates; not-a-number becomes null."""
    status = a_status().model_copy(update={"disk_error": "caf\udce9.jpg: is broken", "started": float("nan")})
    answer = json.loads(to_json(status))
    assert (answer["disk_error"], answer["started"]) == ("caf?.jpg: is broken", None)
    assert answer["models"] == json.loads(to_json(a_status()))["models"]
