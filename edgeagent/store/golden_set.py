# SPDX-License-Identifier: AGPL-3.0-or-later
"""The golden set that is published with a version: labelled pictures, or such to compare forms of the weights on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeagent.datasets.labelled import LabelledSet, check_names, read_set
from edgeagent.datasets.layout import DESCRIPTION, layout_of
from edgeagent.datasets.publishable import publishable
from edgeagent.errors import UsageError


def read_labelled(golden: Path, names: Sequence[str]) -> LabelledSet:
    """The labelled set at `golden`, a data.yaml or a folder, whose classes are among `names`, those of the weights.

    Raises UsageError: there is none, or it doesn't fit.
    """
    found = read_set(layout_of(golden), names)
    check_names(found, names, "the weights")
    return found


def golden_set(golden: Path, names: Sequence[str], scratch: Path) -> dict[str, Path]:
    """The files to publish by their path in the set; those that have to be written are written into `scratch`.

    A folder without data.yaml and images/ is taken as it is: pictures without labels. Raises UsageError.
    """
    if golden.is_file() or (golden / DESCRIPTION).exists() or (golden / "images").is_dir():
        return publishable(read_labelled(golden, names), scratch)
    if not golden.is_dir():
        raise UsageError(f"golden set {golden}", "is not a folder", "name the folder that holds its files")
    found = sorted(path for path in golden.rglob("[!.]*") if path.is_file())
    if not found:
        raise UsageError(f"golden set {golden}", "holds 0 files", "name the folder that holds its files")
    return {path.relative_to(golden).as_posix(): path for path in found}
