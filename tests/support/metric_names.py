# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every metric that the code makes, read from the code, with its labels: what docs, rules and dashboards may name."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import edgeagent

_KINDS = {
    "Counter": "counter",
    "CounterMetricFamily": "counter",
    "Gauge": "gauge",
    "GaugeMetricFamily": "gauge",
    "Histogram": "histogram",
    "HistogramMetricFamily": "histogram",
}
_PACKAGE = Path(edgeagent.__file__).parent


@dataclass(frozen=True)
class Metric:
    """One metric. kind: counter, gauge or histogram."""

    kind: str
    labels: tuple[str, ...]


@cache
def metrics() -> dict[str, Metric]:
    """By name, as Prometheus shows it: a counter ends with `_total`."""
    found: dict[str, Metric] = {}
    for file in sorted(_PACKAGE.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if "prometheus_client" not in text:
            continue
        module = ".".join(("edgeagent", *file.relative_to(_PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(text)):
            kind = _kind(node)
            if kind and isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant):
                name = str(node.args[0].value) + ("_total" if kind == "counter" else "")
                found[name] = Metric(kind, _labels(node, module))
    return found


@cache
def series() -> dict[str, tuple[str, ...]]:
    """The labels of each series: of a histogram there are three."""
    found: dict[str, tuple[str, ...]] = {}
    for name, metric in metrics().items():
        if metric.kind == "histogram":
            found |= {f"{name}_{end}": metric.labels for end in ("count", "sum")}
            found[f"{name}_bucket"] = (*metric.labels, "le")
        else:
            found[name] = metric.labels
    return found


def _kind(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
        return _KINDS.get(node.func.id)
    return None


def _labels(call: ast.Call, module: str) -> tuple[str, ...]:
    given = next((k.value for k in call.keywords if k.arg in ("labels", "labelnames")), None)
    given = given or (call.args[2] if len(call.args) > 2 else None)
    if given is None:
        return ()
    return tuple(eval(ast.unparse(given), vars(import_module(module))))  # noqa: S307 - the code of this repository
