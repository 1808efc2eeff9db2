# SPDX-License-Identifier: AGPL-3.0-or-later
"""How soon a version serves: rolled back, promoted from the cache, fetched, converted."""

from __future__ import annotations

import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

from bench import networks
from bench.bench_node import BenchNode
from bench.report import Bench, Section, Target, median, table
from edgeagent.demo.bad_versions import copy_with_note
from edgeagent.testing import wait_for

FPS = 15.0
PROBATION_S = 1.0


def run(bench: Bench) -> Section:
    """YOLO11n at 320 under a live load, the engine left to the node (`auto`), and pinned to ONNX Runtime."""
    rounds = 1 if bench.quick else 4
    [weights] = networks.build(bench.built / "networks", networks.YOLO11N_320)
    found: dict[str, list[float]] = {}
    stages: dict[str, list[dict[str, float]]] = {}
    source = {"url": f"synthetic://conveyor?fps={FPS}", "live": True}
    for backend in ("auto", "onnxruntime"):
        folder = bench.scratch / backend
        update = {"probation": {"seconds": PROBATION_S}}
        with BenchNode(folder, source, engine={"backend": backend}, update=update) as bench_node:
            bench_node.publish("v1", weights.onnx)
            bench_node.publish("v2", _noted(weights.onnx, folder / "v2.onnx"))
            bench_node.start("v1")
            bench_node.promote("v2")
            bench_node.wait_active("v2")
            _stable(bench_node)
            bench_node.promote("v1")
            bench_node.wait_active("v1")
            _stable(bench_node)
            for i in range(rounds):
                case = f"cached and prepared, {backend}"
                found.setdefault(case, []).append(_promote(bench_node, "v2"))
                stages.setdefault(case, []).append(_stages(bench_node, "v2"))
                rolled, inference = _roll_back(bench_node)
                found.setdefault(f"rolled back, {backend}", []).append(rolled)
                found.setdefault("inference", []).append(inference)
                _stable(bench_node)
                name = f"fresh-{i}"
                bench_node.publish(name, _noted(weights.onnx, folder / f"{name}.onnx"))
                case = f"fetched ONNX, {backend}"
                found.setdefault(case, []).append(_promote(bench_node, name))
                stages.setdefault(case, []).append(_stages(bench_node, name))
                _stable(bench_node)
                bench_node.promote("v1")
                bench_node.wait_active("v1")
                _stable(bench_node)
    for path in (networks.demo().onnx, networks.demo().pt):
        for i in range(rounds):
            _first_on_a_node(bench.scratch / f"first-{path.suffix[1:]}-{i}", source, path, found, stages)
    for kind, of_kind in (("demo", networks.demo()), ("YOLO11n at 320", weights)):
        for first, then in ((of_kind.onnx, of_kind.pt), (of_kind.pt, of_kind.onnx)):
            _other_format(bench, source, kind, first, then, found, stages)
    return _section(found, stages)


def _first_on_a_node(
    folder: Path,
    source: dict[str, Any],
    weights: Path,
    found: dict[str, list[float]],
    stages: dict[str, list[dict[str, float]]],
) -> None:
    """From the start of a node that has nothing yet to its first result, with a choice of runtimes."""
    with BenchNode(folder, source, engine={"backend": "auto"}) as bench_node:
        bench_node.publish("v1", weights)
        begun = time.time()
        bench_node.start("v1", 300)
        case = f"start of a new node, {weights.suffix}"
        found.setdefault(case, []).append(bench_node.first_result("v1", begun))
        stages.setdefault(case, []).append(_stages(bench_node, "v1"))


def _other_format(
    bench: Bench,
    source: dict[str, Any],
    kind: str,
    first: Path,
    then: Path,
    found: dict[str, list[float]],
    stages: dict[str, list[dict[str, float]]],
) -> None:
    """Serve `first`, then change to the other format, the first version of its kind; a `.pt` twice more, retrained."""
    folder = bench.scratch / f"{then.suffix[1:]}-{kind.split()[0]}"
    update = {"probation": {"seconds": PROBATION_S}}
    with BenchNode(folder, source, engine={"backend": "auto"}, update=update) as bench_node:
        bench_node.publish("before", first)
        bench_node.start("before", 300)
        versions = [then]
        if then.suffix == ".pt":
            rounds = 1 if bench.quick else 3
            versions += [_retrained(then, folder / f"v{i}.pt", str(i)) for i in range(1, rounds + 1)]
        for i, path in enumerate(versions):
            what = ("first .pt" if i == 0 else "retrained .pt") if then.suffix == ".pt" else "first ONNX"
            bench_node.publish(f"v{i}", path)
            case = f"{what}, {kind}"
            found.setdefault(case, []).append(_promote(bench_node, f"v{i}"))
            stages.setdefault(case, []).append(_stages(bench_node, f"v{i}"))
            _stable(bench_node)


def _retrained(pt: Path, target: Path, note: str) -> Path:
    """Another content, the same network."""
    shutil.copy(pt, target)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].split('/')[0]}/note", note)
    return target


def _promote(bench_node: BenchNode, version: str) -> float:
    return bench_node.first_result(version, bench_node.promote(version))


def _stages(bench_node: BenchNode, version: str) -> dict[str, float]:
    """Seconds of each stage of the last update to `version`, as the node's own history tells them."""

    def look() -> dict[str, float] | None:
        found = [
            r["stages"]
            for r in bench_node.get("/api/history")["history"]
            if r["to_version"] == version and r["stages"] and r["event"] != "rebuild"
        ]
        return found[-1] if found else None

    return wait_for(look, f"{version} in the history")


def _roll_back(bench_node: BenchNode) -> tuple[float, float]:
    """Seconds from the request to the first result of the version before, and what one frame takes in the median."""
    assert bench_node.model()["standby"], "nothing is warm"
    latencies = [r["latency_ms"] / 1000 for r in bench_node.records()[-20:]]
    asked = time.time()
    code, answer = bench_node.post("/rollback")
    assert code == 200, answer
    return bench_node.first_result(answer["to"], asked), median(latencies) or 0.0


def _stable(bench_node: BenchNode) -> None:
    wait_for(lambda: bench_node.model()["state"] == "STABLE", "stable")


def _noted(weights: Path, target: Path) -> Path:
    copy_with_note(weights, target, target.stem)
    return target


def _section(found: dict[str, list[float]], stages: dict[str, list[dict[str, float]]]) -> Section:
    inference = median(found.pop("inference")) or 0.0
    limit = round(1 / FPS + inference, 4)
    labels = {"auto": "engine auto", "onnxruntime": "ONNX Runtime"}
    rows: list[list[object]] = []
    for what, times in found.items():
        case, _, detail = what.partition(", ")
        rows.append(
            [case, labels.get(detail, detail), f"{median(times):.3f} s", f"{max(times):.3f} s", len(times)]
        )
    names = list(dict.fromkeys(name for all_of in stages.values() for one in all_of for name in one))
    by_stage = [
        [
            case,
            *(
                f"{value:.2f}" if (value := median([one.get(n, 0.0) for one in all_of])) else "–"
                for n in names
            ),
        ]
        for case, all_of in stages.items()
    ]
    targets = [
        Target.at_most(
            "roll-back with a warm standby → first result: a frame interval and an inference",
            limit,
            median(found["rolled back, auto"]),
            " s",
        ),
        Target.at_most(
            "promote → first result, cached and prepared",
            0.5,
            median(found["cached and prepared, auto"]),
            " s",
        ),
        Target.at_most(
            "promote → first result, ONNX to be fetched", 1.5, median(found["fetched ONNX, auto"]), " s"
        ),
        Target.at_most(
            "promote → first result, .pt to be converted",
            20,
            max(median(v) or 0.0 for k, v in found.items() if k.startswith(("first .pt", "retrained .pt"))),
            " s",
        ),
        *(
            Target.at_most(
                f"start of a new node → first result, {suffix}",
                limit_s,
                median(found[f"start of a new node, {suffix}"]),
                " s",
            )
            for suffix, limit_s in ((".onnx", 6), (".pt", 12))
        ),
    ]
    text = (
        f"YOLO11n at 320 under a live load of {FPS:g} frames a second. From the instant before the request or the "
        "write to the intent, to the first result of the version. A frame interval is "
        f"{1000 / FPS:.0f} ms, a frame takes {1000 * inference:.0f} ms from capture to result. The store is a folder "
        "on the same machine. With `auto` the first version of its kind is tried in every runtime that is installed; "
        "later ones (retrained: other weights of the same network) in what was fastest for that one. Each is proved "
        "equal to its source before it serves, and the result is kept. *Fetched ONNX* is retrained, too. *Start of a "
        "new node* is from the start of its process with an empty cache; it serves what was published.\n\n"
        + table(("what", "engine or network", "median", "worst", "times"), rows)
        + "\nSeconds by stage, as the node's history has them (medians); the rest of the time above is noticing the "
        "intent and the first frame:\n\n" + table(("what", *(n.lower() for n in names)), by_stage)
    )
    return Section("How soon a version serves", text, targets, {"seconds": found, "stages": stages})
