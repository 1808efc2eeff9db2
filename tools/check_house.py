# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checks that no tool off the shelf makes: sizes of classes, constructors and files, and words that stay away.

Run by `make lint`. Exceptions are listed here with the ADR that says why.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_LINES, MAX_ATTRIBUTES, MAX_METHODS, MAX_PARAMETERS = 400, 20, 25, 7
EXCEPTIONS: dict[str, str] = {}
"""What may be larger (`file` or `file:Class`), and the ADR that says why."""

FORBIDDEN = re.compile(
    r"wish(es|ed)?|troubled|disappoint(ing|ed)?|kin|workshop|refit|unfit|pump|chores?|door|halved?|"
    r"story|station|contestants?|rivals?|rig"
)
"""Words of identifiers that docs/architecture.md ("Words") replaces by others."""
ALLOWED_AT = {"edgeagent/core/state.py": {"wish"}}  # a name on disk


def main() -> int:
    """Print what is wrong, one line each. Returns the exit code."""
    found = [problem for path in _python_files() for problem in (*_sizes(path), *_words(path))]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


def _python_files() -> Iterator[Path]:
    for folder in ("edgeagent", "bench", "tests"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _sizes(path: Path) -> Iterator[str]:
    name, text = path.relative_to(ROOT).as_posix(), path.read_text()
    if name.startswith("tests/"):
        return
    if (lines := text.count("\n")) > MAX_LINES and name not in EXCEPTIONS:
        yield f"{name}: {lines} lines, at most {MAX_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and f"{name}:{node.name}" not in EXCEPTIONS:
            yield from (f"{name}:{node.lineno} {node.name}: {why}" for why in _class_sizes(node))


def _class_sizes(node: ast.ClassDef) -> Iterator[str]:
    methods = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    if len(methods) > MAX_METHODS:
        yield f"{len(methods)} methods, at most {MAX_METHODS}"
    attributes = {
        t.attr
        for method in methods
        for n in ast.walk(method)
        if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
        for t in [n]
        if isinstance(t.value, ast.Name) and t.value.id == "self"
    } | {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    if len(attributes) > MAX_ATTRIBUTES:
        yield f"{len(attributes)} attributes, at most {MAX_ATTRIBUTES}"
    for method in methods:
        if method.name == "__init__":
            parameters = len(method.args.args) - 1 + len(method.args.kwonlyargs)
            if parameters > MAX_PARAMETERS:
                yield f"its constructor has {parameters} parameters, at most {MAX_PARAMETERS}"


def _words(path: Path) -> Iterator[str]:
    name = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text())):
        for identifier in _identifiers(node):
            words = set(re.split(r"_+|(?<=[a-z0-9])(?=[A-Z])", identifier))
            bad = {w for w in words if FORBIDDEN.fullmatch(w.lower())} - ALLOWED_AT.get(name, set())
            if bad:
                yield f"{name}:{getattr(node, 'lineno', 0)}: {identifier}: the word {', '.join(sorted(bad))}"


def _identifiers(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield name
        case ast.arg(arg=name):
            yield name


if __name__ == "__main__":
    sys.exit(main())
