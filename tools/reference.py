# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes docs/reference/ from the code: `make reference`; with `--check` it only says which pages are out of date.

configuration.md: fields, defaults and limits are those of the schema; what they mean is said by the comments of
configs/edgeagent.yaml, else by the docstrings of the schema. cli.md comes from the commands, http.md from OpenAPI,
metrics.md from the places where metrics are made.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import typer
from reference_configuration import Configuration
from reference_text import HEAD, Schema, as_code, as_yaml, cell, limits, table

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/reference"


def pages() -> dict[str, str]:
    """Each page by its name, as it should be."""
    return {
        "cli.md": _cli(),
        "configuration.md": Configuration().page(),
        "http.md": _http(),
        "metrics.md": _metrics(),
    }


def main(arguments: list[str]) -> int:
    """Write what differs, or only name it. Returns the exit code: with `--check` 1 when a page is out of date."""
    differ = []
    for name, text in pages().items():
        path = FOLDER / name
        if not path.exists() or path.read_text("utf-8") != text:
            differ.append(name)
            if "--check" not in arguments:
                FOLDER.mkdir(exist_ok=True)
                path.write_text(text, "utf-8")
    print(*(f"docs/reference/{name}" for name in differ), sep="\n", end="\n" if differ else "")
    return 1 if differ and "--check" in arguments else 0


# -- command line --------------------------------------------------------------------------------------


def _cli() -> str:
    from edgeagent.cli.main import app

    about = "[interface](../interface.md#command-line)"
    text = HEAD.format(title="Commands", about=about)
    text += "\nEach has `--help`. Exit codes: 0 done; 1 it failed; 2 the arguments or the configuration are wrong.\n"
    return text + "".join(_commands("edgeagent", typer.main.get_command(app)))


def _commands(name: str, command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            if not inner.hidden:
                yield from _commands(f"{name} {word}", inner)
        return
    parameters = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    usage = " ".join([name, *(_usage(p) for p in parameters if p.required or p in arguments), "[OPTIONS]"])
    yield f"\n## {name}\n\n{inspect.cleandoc(command.help or '')}\n\n```\n{usage}\n```\n\n"
    rows = [(_option(p), _shown_default(p), cell(getattr(p, "help", None) or "")) for p in parameters]
    yield table(("option", "default", "meaning"), rows)


def _usage(parameter: Any) -> str:
    metavar = parameter.metavar or parameter.name.upper()
    shown = metavar if parameter.param_type_name == "argument" else f"{parameter.opts[0]} {metavar}"
    return shown if parameter.required else f"[{shown}]"


def _option(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return as_code(parameter.metavar or parameter.name.upper())
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    value = "" if getattr(parameter, "is_flag", False) else f" {parameter.metavar or 'VALUE'}"
    often = ", repeatable" if getattr(parameter, "multiple", False) else ""
    variable = f", or the variable `{parameter.envvar}`" if parameter.envvar else ""
    return as_code(names + value) + often + variable


def _shown_default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value in (None, False, "", (), []) or callable(value):
        return ""
    return as_code(value)


# -- HTTP ----------------------------------------------------------------------------------------------

_ALWAYS = {"400", "401", "403", "500"}
"""Answers that any request can have."""


def _http() -> str:
    schema = _openapi()
    text = HEAD.format(title="HTTP", about="[interface](../interface.md#http)")
    text += (
        "\nThe same, for programs, is at `/openapi.json` of each node. Errors are "
        '`{"error": {"what", "why", "todo"}}`; any request can be answered 400, 401, 403 or 500.\n\n'
    )
    text += table(("answer", "in general"), _meaning_of_answers(schema))
    for path, requests in schema["paths"].items():
        for method, request in requests.items():
            text += f"\n## {method.upper()} {path}\n\n{request['summary'].replace('<', '&lt;')}.\n\n"
            text += "".join(_request(schema, request))
    return text


def _meaning_of_answers(schema: Schema) -> list[tuple[str, ...]]:
    """The words that most requests have for each."""
    said: dict[str, Counter[str]] = {}
    for requests in schema["paths"].values():
        for request in requests.values():
            for code, answer in request["responses"].items():
                if code >= "400":
                    said.setdefault(code, Counter())[answer["description"]] += 1
    return [(code, cell(words.most_common(1)[0][0])) for code, words in sorted(said.items())]


def _openapi() -> Schema:
    """Of a node with all that it can have."""
    from edgeagent import web
    from edgeagent.observe.metrics import Metrics
    from edgeagent.web.app import create_app

    app = create_app(MagicMock(), Metrics(), hooks=MagicMock())
    folder = Path(web.__file__).parent
    there = (folder / "app.py").read_text("utf-8")
    for file in sorted(folder.glob("*_routes.py")):
        if f"edgeagent.web.{file.stem} " not in there:
            module = importlib.import_module(f"edgeagent.web.{file.stem}")
            for name, add in inspect.getmembers(module, inspect.isfunction):
                if name.startswith("add_") and add.__module__ == module.__name__:
                    add(app, *(MagicMock() for _ in list(inspect.signature(add).parameters)[1:]))
    return app.openapi()


def _request(schema: Schema, request: Schema) -> Iterator[str]:
    rows = [
        (
            as_code(p["name"]),
            p["in"],
            _json_type(schema, p["schema"]),
            _json_default(p["schema"], p.get("required")),
        )
        for p in request.get("parameters", ())
    ]
    for kind, body in request.get("requestBody", {}).get("content", {}).items():
        content = _resolved(schema, body["schema"])
        for name, field in content.get("properties", {}).items():
            needed = name in content.get("required", ())
            rows.append((as_code(name), kind, _json_type(schema, field), _json_default(field, needed)))
    yield table(("parameter", "in", "what", "default"), rows)
    good, bad = [], []
    for code, answer in sorted(request["responses"].items()):
        kinds = ", ".join(as_code(kind) for kind in answer.get("content", {}))
        if code < "400":
            good.append(f"{code} {kinds}".strip())
        elif code not in _ALWAYS:
            bad.append(code)
    yield (
        ("\n" if rows else "")
        + f"Answers: {'; '.join(good)}"
        + (f"; or {', '.join(bad)}" if bad else "")
        + ".\n"
    )


def _resolved(schema: Schema, part: Schema) -> Schema:
    for choice in (part, *part.get("anyOf", ())):
        if "$ref" in choice:
            return schema["components"]["schemas"][choice["$ref"].rpartition("/")[2]]
    return part


def _json_type(schema: Schema, part: Schema) -> str:
    if "anyOf" in part:
        return " or ".join(_json_type(schema, choice) for choice in part["anyOf"])
    if "$ref" in part:
        found = _resolved(schema, part)
        return "object" if found.get("type") == "object" else _json_type(schema, found)
    if "enum" in part or "const" in part:
        return ", ".join(as_code(v) for v in part.get("enum", [part.get("const")]))
    length = f"at most {part['maxLength']} characters" if "maxLength" in part else ""
    return ", ".join(filter(None, (part.get("type", "anything"), *limits(part), length)))


def _json_default(part: Schema, required: object) -> str:
    return "required" if required else as_code(as_yaml(part["default"])) if "default" in part else ""


# -- metrics -------------------------------------------------------------------------------------------

_MAKERS = {"Gauge": "gauge", "Counter": "counter", "Histogram": "histogram"}


def _metrics() -> str:
    about = "[interface](../interface.md#metrics); queries and alert rules: [monitoring](../monitoring.md)"
    text = HEAD.format(title="Metrics", about=about)
    text += "\nAt `/metrics` of a node, for Prometheus. A counter appears with its first count.\n\n"
    rows = []
    for file in sorted((ROOT / "edgeagent").rglob("*.py")):
        source = file.read_text("utf-8")
        if "prometheus_client" in source:
            rows += list(_made_in(ast.parse(source), file))
    return text + table(("metric", "type", "labels", "meaning"), sorted(set(rows)))


def _made_in(tree: ast.Module, file: Path) -> Iterator[tuple[str, ...]]:
    """The metrics that a module makes: each call of a maker with a name of ours."""
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        kind = _MAKERS.get(node.func.id.removesuffix("MetricFamily"))
        if not kind or not node.args or not str(getattr(node.args[0], "value", "")).startswith("edgeagent_"):
            continue
        name, meaning = (ast.literal_eval(argument) for argument in node.args[:2])
        labels = next((k.value for k in node.keywords if k.arg == "labels"), None)
        if labels is None and len(node.args) > 2:
            labels = node.args[2]
        if isinstance(labels, ast.Name):
            found = getattr(importlib.import_module(module), labels.id)
        else:
            found = ast.literal_eval(labels) if labels else ()
        name += "_total" if kind == "counter" and not name.endswith("_total") else ""
        yield as_code(name), kind, ", ".join(map(as_code, found)), cell(meaning)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
