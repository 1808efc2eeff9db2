# SPDX-License-Identifier: AGPL-3.0-or-later
"""The configuration file as a document: read as it is, changed in one place, written back with the old one kept."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from edgeagent.config.load import ENV_PREFIX, ConfigError, parse_config, read_yaml
from edgeagent.config.schema import Config, PipelineConfig
from edgeagent.core.text import clean
from edgeagent.errors import UnavailableError
from edgeagent.util.durable import keep_copy, write_durably

KEPT = 5
"""Older files that stay beside it: FILE.1 is the last one, FILE.5 the oldest."""


@dataclass(frozen=True)
class Document:
    """A configuration file. revision: of its content; doc: what it says; problems: what is wrong with it as YAML."""

    path: Path
    revision: str
    doc: dict[str, Any]
    problems: tuple[str, ...] = ()

    def config(
        self, doc: Mapping[str, Any], environ: Mapping[str, str], problems: Sequence[str] = ()
    ) -> Config:
        """What this would mean in the file. problems: what is known to be wrong already. Raises ConfigError with every
        mistake."""
        return parse_config(dict(doc), str(self.path), environ, [*self.problems, *problems])

    @property
    def pipelines(self) -> list[dict[str, Any]]:
        """All that it says of pipelines, as far as these are mappings."""
        return [p for p in self.doc.get("pipelines") or [] if isinstance(p, dict)]

    def with_pipeline(self, name: str, pipeline: Mapping[str, Any] | None) -> dict[str, Any]:
        """What it says with this pipeline in the place of the one of that name, or at the end; None: without it."""
        doc = copy.deepcopy(self.doc)
        pipelines = doc["pipelines"] = list(doc.get("pipelines") or [])
        place = self.place_of(name)
        if pipeline is None:
            del pipelines[place]
        elif place == len(pipelines):
            pipelines.append(dict(pipeline))
        else:
            pipelines[place] = dict(pipeline)
        return doc

    def with_settings(self, model: str, settings: Mapping[str, Any] | None) -> dict[str, Any]:
        """What it says with these settings of a model; None or none: without any."""
        doc = copy.deepcopy(self.doc)
        models = doc.get("models") or {}
        models = dict(models) if isinstance(models, dict) else {}
        models.pop(model, None)
        if settings:
            models[model] = dict(settings)
        doc["models"] = models
        if not models:
            del doc["models"]
        return doc

    def place_of(self, name: str) -> int:
        """Of a pipeline in the list; that after the last if there is none of this name."""
        pipelines = self.doc.get("pipelines") or []
        found = (n for n, p in enumerate(pipelines) if isinstance(p, dict) and p.get("name") == name)
        return next(found, len(pipelines))

    def pipeline(self, name: str) -> dict[str, Any] | None:
        """What it says of a pipeline; None if there is none of this name."""
        pipelines, place = self.doc.get("pipelines") or [], self.place_of(name)
        return pipelines[place] if place < len(pipelines) else None


def read_document(path: Path) -> Document:
    """Read a configuration file, without a look at what it means. Raises ConfigError."""
    data, doc, problems = read_yaml(path)
    if not isinstance(doc, dict | None):
        raise ConfigError(str(path), ["is not a mapping; allowed: sections such as node:, pipelines:"])
    if doc and not isinstance(doc.get("pipelines"), list | None):
        raise ConfigError(str(path), ["pipelines: is no list; allowed: a list of pipelines"])
    return Document(path, revision_of(data), doc or {}, tuple(problems))


def revision_of(data: bytes) -> str:
    """What tells one content of the file from another."""
    return sha256(data).hexdigest()[:16]


def write_document(path: Path, doc: Mapping[str, Any], by: str) -> str:
    """Write it in the place of the file, which stays as FILE.1. Returns its revision. by: who wants it so.

    Raises UnavailableError when it can't be written; the file is then as it was.
    """
    text = yaml.dump(dict(doc), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    # What can't be shown may not stand in YAML, not even in a comment: nobody could read the file any more.
    who = "".join(c if c.isprintable() else " " for c in clean(" ".join(by.split()), 200))
    data = f"# Written by edgeagent for {who}; the one before is {path.name}.1\n{text}".encode()
    try:
        path = path.resolve()  # what a link leads to, not the link
        before = path.stat()
        _keep(path)
        write_durably(path, data, before.st_mode & 0o777)
        with suppress(OSError):  # the owner's group may read it, as before
            os.chown(path, -1, before.st_gid)
    except OSError as e:
        raise UnavailableError(
            f"configuration {path}",
            f"it can't be written ({e.strerror}), and nothing was changed",
            f"let the node's user write {path.parent}, or change the file and send SIGHUP",
        ) from e
    return revision_of(data)


def overriding(environ: Mapping[str, str], section: str) -> list[str]:
    """Variables that say a section otherwise than the file, whatever that says."""
    prefix = f"{ENV_PREFIX}{section.upper()}"
    return sorted(name for name in environ if name == prefix or name.startswith(f"{prefix}__"))


def in_short(pipeline: PipelineConfig) -> dict[str, Any]:
    """A pipeline as it is written down: without what goes without saying."""
    doc = pipeline.model_dump(mode="json", exclude_defaults=True)
    if pipeline.sinks:
        doc["sinks"] = [
            {"type": sink.type} | sink.model_dump(mode="json", exclude_defaults=True)
            for sink in pipeline.sinks
        ]
    return doc


class _Dumper(yaml.SafeDumper):
    """What stands in two places is written in both."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _keep(path: Path) -> None:
    """The file as FILE.1, that one as FILE.2, and so on."""
    for number in range(KEPT - 1, 0, -1):
        with suppress(FileNotFoundError):
            os.replace(f"{path}.{number}", f"{path}.{number + 1}")
    keep_copy(path, Path(f"{path}.1"))
