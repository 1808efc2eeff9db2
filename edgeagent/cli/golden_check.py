# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the golden sets of a configuration can judge: for `check` without the pictures, for `doctor` with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edgeagent.config import Config
from edgeagent.core.golden import GoldenLimits, objects_needed
from edgeagent.core.model import MAX_CLASSES
from edgeagent.datasets.labelled import LabelledSet, read_set
from edgeagent.datasets.layout import layout_of
from edgeagent.errors import EdgeAgentError, UsageError

_SHOWN = 12  # classes of a message


def problems(config: Config) -> Iterator[str]:
    """What is wrong with `update.golden`, a line for each model."""
    for model, data in config.update.golden.items():
        try:
            _labelled(config, model, data)
        except EdgeAgentError as e:
            yield f"update.golden.{model}: {e}"


def examine_set(config: Config, model: str, data: Path) -> tuple[str, str]:
    """The level (ok, warn) and what is to be said of a set whose labels are right and whose pictures open.

    Raises UsageError for one that could judge nothing."""
    from edgeagent.datasets.publishable import check_pictures

    found = _labelled(config, model, data)
    check_pictures(found, lambda done, total: None)
    sample = (
        f"a sample of {len(found.pictures)} of {found.of}"
        if found.of > len(found.pictures)
        else f"{found.of}"
    )
    said = [f"{sample} pictures, {found.objects} objects"]
    if found.unlabelled:
        said.append(f"{found.unlabelled} pictures have no label file, and count as showing nothing")
    limits = GoldenLimits.of(config.update.gates.golden.model_dump(exclude_none=True))
    tests = len(found.shown) + (len(found.shown) > 1)
    needed = objects_needed(tests, limits)
    if few := _too_few(found, needed):
        said.append(
            f"too few objects to tell in {', '.join(few[:_SHOWN])}: {needed} are needed to see a drop of recall by"
            f" {limits.drop:g}, and no version will pass; add pictures, or set update.gates.golden.drop higher"
        )
    return ("warn" if few or found.unlabelled else "ok"), "; ".join(said)


def _too_few(found: LabelledSet, needed: int) -> list[str]:
    shown, must = Counter[str](), Counter[str]()
    for picture in found.pictures:
        for index, label in enumerate(picture.labels):
            shown[found.names[label.cls]] += 1
            must[found.names[label.cls]] += index in picture.must
    return [f"{name} ({count})" for name, count in sorted(shown.items()) if must[name] < count < needed]


def _labelled(config: Config, model: str, data: Path) -> LabelledSet:
    if model not in {pipeline.model for pipeline in config.pipelines}:
        raise UsageError(f"model {model}", "no pipeline uses it", "correct the name, or leave it out")
    # Where the set names no classes they are those of the version, which nobody knows here.
    unknown = [f"class {number}" for number in range(MAX_CLASSES)]
    return read_set(layout_of(data), unknown, most=config.update.gates.golden.max_pictures)
