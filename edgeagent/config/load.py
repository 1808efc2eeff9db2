# SPDX-License-Identifier: AGPL-3.0-or-later
"""Read a configuration file and the environment, and say everything that is wrong with them at once."""

from __future__ import annotations

import copy
import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from edgeagent.config.schema import Config, clashes
from edgeagent.config.yaml_loader import AliasError, Loader
from edgeagent.errors import UsageError
from edgeagent.notify.config import NotifyConfig, kind_of
from edgeagent.sinks.port import SinkConfig
from edgeagent.sinks.registry import sink_type
from edgeagent.util.plain_file import open_plain_file

MAX_CONFIG_BYTES = 1 << 20
ENV_PREFIX = "EDGEAGENT_"
_TYPE_HINTS = {
    "string_type": "text (put it in quotes)",
    "missing": "this field has no default and must be given",
    "model_type": "a mapping (name: value)",
    "dict_type": "a mapping (name: value)",
}


class ConfigError(UsageError):
    """The configuration is wrong. `problems` has one line for each mistake: "path: what; allowed: ..."."""

    def __init__(self, where: str, problems: list[str]) -> None:
        count = f"{len(problems)} mistakes: " if len(problems) > 1 else ""
        super().__init__(f"configuration {where}", count + " | ".join(problems), "correct it and check again")
        self.problems = problems


def load_config(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read, override from `environ` (the process's own if None) and check a configuration file.

    Raises ConfigError with every mistake.
    """
    _, doc, problems = read_yaml(path)
    return parse_config(
        {} if doc is None else doc, str(path), os.environ if environ is None else environ, problems
    )


def read_yaml(path: Path) -> tuple[bytes, Any, list[str]]:
    """What a file holds, as bytes and as plain values, and what is given twice in it. Raises ConfigError."""
    try:
        with open_plain_file(path) as f:
            data = f.read(MAX_CONFIG_BYTES + 1)
    except OSError as e:
        raise ConfigError(str(path), [f"can't be read ({e.strerror})"]) from e
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(str(path), [f"is larger than {MAX_CONFIG_BYTES} bytes"])
    try:
        loader = Loader(data.decode("utf-8"))
        return data, loader.get_single_data(), loader.duplicates
    except AliasError as e:
        raise ConfigError(str(path), [str(e)]) from e
    except UnicodeDecodeError as e:
        raise ConfigError(str(path), [f"is not UTF-8 (byte {e.start})"]) from e
    except yaml.MarkedYAMLError as e:
        line = f"line {e.problem_mark.line + 1}: " if e.problem_mark else ""
        raise ConfigError(str(path), [f"{line}broken YAML ({e.problem or e.context})"]) from e
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        raise ConfigError(str(path), [f"broken YAML ({' '.join(str(e).split())})"]) from e


def parse_config(
    doc: object,
    where: str = "given",
    environ: Mapping[str, str] | None = None,
    problems: list[str] | None = None,
) -> Config:
    """Check a configuration that is at hand as plain values. Raises ConfigError with every mistake.

    where: how messages name it. problems: what is known to be wrong already.
    """
    found = list(problems or [])
    if not isinstance(doc, dict):
        raise ConfigError(where, [*found, "is not a mapping; allowed: sections such as node:, pipelines:"])
    doc = copy.deepcopy(doc)
    found += _override(doc, environ or {})
    config: Config | None = None
    try:
        config = Config.model_validate(doc)
    except ValidationError as e:
        found += [_describe(doc, error) for error in e.errors(include_url=False)]
        # The check of the whole list runs only when each pipeline is right; run it on what is there.
        found += [c for c in clashes(doc.get("pipelines")) if not any(c in f for f in found)]
    if found or config is None:
        raise ConfigError(where, found)
    return config


def _override(doc: dict[Any, Any], environ: Mapping[str, str]) -> list[str]:
    """Put the variables into `doc`; returns what is wrong with them."""
    problems = []
    for variable in sorted(v for v in environ if v.startswith(ENV_PREFIX)):
        path = variable.removeprefix(ENV_PREFIX).lower().split("__")
        if path[0] not in Config.model_fields:
            section = next((s for s in Config.model_fields if path[0].startswith(s + "_")), None)
            if section:
                guess = (ENV_PREFIX + section + "__" + path[0].removeprefix(section + "_")).upper()
                problems.append(f"{variable}: is not known; did you mean {guess}?")
            continue  # not a setting: EDGEAGENT_TOKEN_FILE and the like belong to others
        try:
            _set(doc, path, _value(environ[variable]))
        except (ValueError, yaml.YAMLError) as e:
            problems.append(f"{variable}: {' '.join(str(e).split())}")
    return problems


def _value(text: str) -> Any:
    return Loader(text).get_single_data() if text.lstrip().startswith(("[", "{")) else text


def _set(doc: Any, path: list[str], value: Any) -> None:
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(doc, list):
            if not part.isdecimal() or int(part) > len(doc):
                raise ValueError(f"no element {part}; allowed: 0 to {len(doc)}")
            key: Any = int(part)
            if key == len(doc):
                doc.append({})
        elif isinstance(doc, dict):
            key = part
        else:
            raise ValueError(f"{'.'.join(path[:depth])} is a single value and has nothing below it")
        if last:
            doc[key] = value
        else:
            below = doc.get(key) if isinstance(doc, dict) else doc[key]
            if below is None:
                below = doc[key] = [] if path[depth + 1].isdecimal() else {}
            doc = below


def _describe(doc: dict[Any, Any], error: Any) -> str:
    """One line about one of pydantic's errors: "path: what; allowed: ..."."""
    loc, kind, message = error["loc"], error["type"], error["msg"]
    path = _dotted(loc)
    if kind == "value_error":
        text = str(error["ctx"]["error"])
        return text if text.startswith(path + "[") else f"{path}: {text}"
    if kind == "extra_forbidden":
        known = _fields_at(doc, loc[:-1])
        close = difflib.get_close_matches(str(loc[-1]), known, 1)
        guess = f", did you mean {close[0]}?" if close else ""
        return f"{path}: is not known{guess}; allowed: {', '.join(known)}"
    if kind == "missing":
        return f"{path}: is missing; allowed: {_TYPE_HINTS[kind]}"
    shown = "no value" if error["input"] is None else repr(error["input"])
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    allowed = _TYPE_HINTS.get(kind) or re.sub(r"^Input should be (a |an )?|, unable to parse.*$", "", message)
    return f"{path}: {shown} is wrong; allowed: {allowed}"


def _dotted(loc: tuple[str | int, ...]) -> str:
    """`pipelines[0].source.url`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.lstrip(".") or "configuration"


def _fields_at(doc: Any, loc: tuple[str | int, ...]) -> list[str]:
    """Names of the fields that are known below `loc`, a mapping in `doc`."""
    section: type[BaseModel] = Config
    for part in loc:
        doc = doc[part]
        if (
            part in section.model_fields
        ):  # else an element of a list, or a name that the user chose (which may be the
            # same as that of a field)
            section = next(_models(section.model_fields[str(part)].annotation), section)
        if section is SinkConfig and isinstance(doc, dict):
            section = sink_type(doc["type"]).config
        elif section is NotifyConfig and isinstance(doc, dict):
            section = kind_of(doc)
    return list(section.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
