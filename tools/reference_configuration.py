# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page of the configuration: fields, defaults and limits from the schema; see tools/reference.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from reference_text import HEAD, Schema, as_code, as_yaml, cell, limits, one_line, table

ROOT = Path(__file__).parents[1]

_UNITS = {
    "seconds": "seconds",
    "s": "seconds",
    "ms": "milliseconds",
    "minutes": "minutes",
    "hours": "hours",
    "days": "days",
    "mb": "MB",
    "bytes": "bytes",
    "fps": "a second",
    "width": "pixels",
}
"""By the last word of a field's name."""

_ALIKE = {
    "sinks": r"pipelines\[\]\.sinks|notify",
    "intents": r"config_store|intent_sources",
    "alarms": r"alarms\.",
}
"""Sections some of whose fields are the same, and are explained once."""
_NODE_ID = "the host's name"


class Configuration:
    """The page of the configuration: a section for each mapping, the same mapping once."""

    def __init__(self) -> None:
        from edgeagent.config.schema import Config

        self._schema = Config.model_json_schema()
        self._in_force = {
            f"alarms.{name}": value for name, value in Config().model_dump(mode="json")["alarms"].items()
        }
        self._defs: dict[str, Schema] = dict(self._schema["$defs"])
        self._meant = _yaml_comments((ROOT / "configs/edgeagent.yaml").read_text("utf-8"))
        self._kinds = self._variants()
        self._where: dict[str, str] = {}
        self._elsewhere: dict[tuple[str, str], str] = {}
        """What the fields of another section mean that has the same ones."""

    def page(self) -> str:
        """As Markdown."""
        about = "[operating](../operating.md); all of it in one file: [edgeagent.yaml](../../configs/edgeagent.yaml)"
        text = HEAD.format(title="Configuration", about=about)
        text += (
            "\nA YAML file, given with `--config`; `edgeagent check` says all that is wrong with one. A path such as "
            "`pipelines[].source.url` is a field within a field, `[]` each element of a list, `<name>` each name of a "
            "mapping. A variable overrides a field: `EDGEAGENT_API__PORT=9000` is `api.port`.\n"
        )
        return text + "".join(self._section("", self._schema))

    def _variants(self) -> dict[str, dict[str, Schema]]:
        """Lists whose elements have the fields of their `type`."""
        from edgeagent.notify.config import KINDS
        from edgeagent.sinks.registry import BUILT_IN

        classes = {
            "SinkConfig": {row.name: row.config for row in BUILT_IN},
            "NotifyConfig": dict(KINDS),
        }
        found = {}
        for base, kinds in classes.items():
            found[base] = {name: kind.model_json_schema() for name, kind in kinds.items()}
            for schema in found[base].values():
                self._defs.update(schema.get("$defs", {}))
        return found

    def _section(self, path: str, schema: Schema) -> Iterator[str]:
        """Of one mapping, and those within it."""
        rows, below = [], []
        for name, field in schema["properties"].items():
            at = f"{path}.{name}" if path else name
            for suffix, inner in self._within(field):
                below.append((at + suffix, inner))
            if path:
                rows.append(self._row(at, name, field, schema))
        if path:
            yield f"\n{'##' if '.' not in path else '###'} {path}\n\n" + _summary(schema)
        elif below:
            yield "\n"
        yield table(("field", "what", "default", "meaning"), rows)
        for at, title in below:
            if title in self._kinds:
                for kind, variant in self._kinds[title].items():
                    yield from self._section(f"{at[:-2]}[{kind}]", variant)
            elif title not in self._where:
                self._where[title] = at
                yield from self._section(at, self._defs[title])

    def _within(self, field: Schema) -> Iterator[tuple[str, str]]:
        """The mappings that a field leads to: what follows the path, and their titles."""
        if "$ref" in field:
            yield "", field["$ref"].rpartition("/")[2]
        for choice in field.get("anyOf", ()):
            yield from self._within(choice)
        for key, suffix in (("items", "[]"), ("additionalProperties", ".<name>")):
            if isinstance(field.get(key), dict):
                yield from ((suffix + more, title) for more, title in self._within(field[key]))

    def _row(self, at: str, name: str, field: Schema, schema: Schema) -> tuple[str, ...]:
        inner = [title for _, title in self._within(field)]
        alike = next((family for family, pattern in _ALIKE.items() if re.match(pattern, at)), at)
        meant = self._meant.get(at) or _docstring_of(name, schema) or self._elsewhere.get((alike, name), "")
        self._elsewhere.setdefault((alike, name), meant)
        if not meant and inner and inner[0] not in self._kinds:
            meant = _summary(self._defs[inner[0]]).strip(". \n")
        default = "required" if name in schema.get("required", ()) else self._default(at, field, inner)
        return as_code(name), one_line(self._type(name, field)), default, cell(meant)

    def _default(self, at: str, field: Schema, inner: list[str]) -> str:
        if at == "node.id":
            return _NODE_ID
        if "default" not in field:
            return ""
        value = field["default"]
        if inner and value == {}:  # of which each has defaults of its own
            value = self._in_force.get(at, {})
        if inner and isinstance(value, dict) and value:
            own = {n: f.get("default") for n, f in self._defs[inner[0]]["properties"].items()}
            value = {n: v for n, v in value.items() if own.get(n) != v}
            if not value:
                return "see there"
        return as_code(as_yaml(value))

    def _type(self, name: str, field: Schema) -> str:
        """In words, with limits and unit."""
        if "$ref" in field:
            return self._link(field["$ref"].rpartition("/")[2])
        if "anyOf" in field:
            return " or ".join(self._type(name, choice) for choice in field["anyOf"])
        if "const" in field or "enum" in field:
            return ", ".join(as_code(v) for v in field.get("enum", [field.get("const")]))
        kind = field.get("type", "")
        if kind == "array":
            items = field.get("items", {})
            return f"list of {self._type('', items)}" if items else "list"
        if kind == "object":
            of = field.get("additionalProperties")
            return f"mapping of {self._type('', of)}" if isinstance(of, dict) and of else "mapping"
        if kind in ("integer", "number"):
            return ", ".join(filter(None, (_number(kind, name), *limits(field))))
        if kind == "string":
            return "path" if field.get("format") == "path" else "text"
        return {"boolean": "`true`, `false`", "null": "`null`"}.get(kind, "anything")

    def _link(self, title: str) -> str:
        if title in self._kinds:
            return "mapping with a `type`: " + ", ".join(as_code(kind) for kind in self._kinds[title])
        schema = self._defs[title]
        if "enum" in schema:
            return self._type("", schema)
        at = self._where.get(title)
        return f"mapping, as [{at}](#{_anchor(at)})" if at else "mapping, below"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _number(kind: str, name: str) -> str:
    unit = _UNITS.get(name.rpartition("_")[2], "")
    word = "integer" if kind == "integer" else "number"
    return unit if unit and unit not in ("a second",) else f"{word} {unit}".strip()


def _summary(schema: Schema) -> str:
    """What its docstring says of it, without what it says of its fields."""
    first = " ".join(str(schema.get("description", "")).partition("\n\n")[0].split())
    fields = "|".join(map(re.escape, schema.get("properties", ()))) or "$^"
    words = re.split(rf"(?:^| )(?:{fields})(?:, \w+)*: ", first)[0].strip()
    return f"{cell(words)}\n\n" if words else ""


def _docstring_of(name: str, schema: Schema) -> str:
    """`name: what it means.` in the docstring of a class; some say it of several names together."""
    text = " ".join(str(schema.get("description", "")).split())
    found = re.search(rf"(?:^|\s)(?:\w+, )*{re.escape(name)}(?:, \w+)*: (.+?)(?=[.;](?:\s|$))", text)
    return found[1] if found else ""


def _yaml_comments(text: str) -> dict[str, str]:
    """What the comments beside the fields say, by path; also in the examples that are commented out."""
    found: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    last = ""
    for line in text.splitlines():
        line = re.sub(r"^(\s{0,12})# (?=\s{0,12}(?:- )?[\w.]+:(?:\s|$))", r"\1", line)
        if more := re.match(r"^\s{15,}# ?(.*)|^\s*#\s{15,}# ?(.*)", line):
            if last:
                found[last] = f"{found.get(last, '')} {(more[1] or more[2] or '').strip()}".strip()
            continue
        if not (field := re.match(r"^(\s*)(- )?([\w.]+):(.*)$", line)):
            last = ""
            continue
        indent = len(field[1]) + len(field[2] or "")
        while stack and stack[-1][0] >= indent:
            stack.pop()
        value, _, comment = field[4].partition(" # ")
        if field[2] and stack:
            kind = f"[{value.strip()}]" if field[3] == "type" else "[]"
            stack[-1] = (stack[-1][0], re.sub(r"\[.*\]$", "", stack[-1][1]) + kind)
        name = "<name>" if stack and stack[-1][1] in ("hooks", "models") else field[3]
        last = ".".join([*(part for _, part in stack), name])
        stack.append((indent, name))
        if comment.strip():
            found.setdefault(last, comment.strip())
    return found
