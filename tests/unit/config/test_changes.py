# SPDX-License-Identifier: AGPL-3.0-or-later
"""What another configuration changes on a running node, and what has to wait for a restart."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.config import Config, parse_config
from edgeagent.config.changes import Changes, changes_between

CAM = {"name": "cam", "model": "yolo", "source": {"url": "rtsp://user:secret@10.0.0.5/a"}}
OTHER = {"name": "other", "model": "yolo", "source": {"url": "synthetic://conveyor"}}
BASE: dict[str, Any] = {"node": {"id": "n1"}, "pipelines": [CAM, OTHER]}


def config(**sections: Any) -> Config:
    """The base, with other sections."""
    return parse_config(BASE | sections)


def changes(**sections: Any) -> Changes:
    """From the base to the base with other sections."""
    return changes_between(config(), config(**sections))


def cameras(**cam: Any) -> list[dict[str, Any]]:
    """The base's pipelines, the first with other fields."""
    return [CAM | cam, OTHER]


def test_the_same_configuration_changes_nothing() -> None:
    """Nothing to do, and nothing to say."""
    assert changes() == Changes(config())


@pytest.mark.parametrize(
    ("pipelines", "added", "removed", "models_added", "models_removed", "said"),
    [
        ([CAM], [], ["other"], (), (), ["pipelines.other removed"]),
        ([OTHER, CAM], [], [], (), (), []),
        (
            [*cameras(), OTHER | {"name": "third", "model": "labels"}],
            ["third"],
            [],
            ("labels",),
            (),
            ["pipelines.third added: labels on synthetic://conveyor"],
        ),
        (cameras(model="labels"), ["cam"], ["cam"], ("labels",), (), ["pipelines.cam.model: yolo → labels"]),
        (
            [],
            [],
            ["cam", "other"],
            (),
            ("yolo",),
            ["pipelines.cam removed", "pipelines.other removed"],
        ),
    ],
)
def test_pipelines_come_and_go(
    pipelines: list[dict[str, Any]],
    added: list[str],
    removed: list[str],
    models_added: tuple[str, ...],
    models_removed: tuple[str, ...],
    said: list[str],
) -> None:
    """One that goes to another model is taken away there, and added here. Their order doesn't matter."""
    found = changes(pipelines=pipelines)
    assert [p.name for p in found.added] == added
    assert [p.name for p in found.removed] == removed
    assert (found.models_added, found.models_removed) == (models_added, models_removed)
    assert (list(found.said), found.changed, found.restart) == (said, (), ())


@pytest.mark.parametrize(
    ("cam", "fields", "said"),
    [
        ({"confidence": 0.4}, {"confidence"}, ["pipelines.cam.confidence: 0.25 → 0.4"]),
        (
            {"source": {"url": "rtsp://user:secret@10.0.0.6/a"}},
            {"source"},
            ["pipelines.cam.source.url: rtsp://***@10.0.0.5/a → rtsp://***@10.0.0.6/a"],
        ),
        (
            {"source": {"url": "rtsp://user:other@10.0.0.5/a"}},
            {"source"},
            ["pipelines.cam.source.url changed"],
        ),
        ({"sinks": [{"type": "log"}]}, {"sinks"}, ["pipelines.cam.sinks.0 added: log"]),
    ],
)
def test_a_pipeline_that_stays(cam: dict[str, Any], fields: set[str], said: list[str]) -> None:
    """Which fields differ, and what is said of it: never a secret."""
    found = changes(pipelines=cameras(**cam))
    (change,) = found.changed
    assert (change.before, change.now) == (config().pipelines[0], found.config.pipelines[0])
    assert change.fields == fields
    assert list(found.said) == said
    assert "secret" not in "".join(found.said)


def test_of_a_sink_no_text_is_said() -> None:
    """It may be a secret; numbers are none."""
    before = config(pipelines=cameras(sinks=[{"type": "jsonl", "path": "/a/one"}]))
    after = config(pipelines=cameras(sinks=[{"type": "jsonl", "path": "/a/two", "keep": 7}]))
    assert changes_between(before, after).said == (
        "pipelines.cam.sinks.0.path changed",
        "pipelines.cam.sinks.0.keep: 5 → 7",
    )


def test_thresholds_and_the_log_are_taken_over() -> None:
    """What versions have to prove, and the golden pictures of the site."""
    wanted = {
        "log": {"level": "debug"},
        "update": {"gates": {"golden": {"min_recall": 0.9}}, "golden": {"yolo": "/golden"}},
    }
    found = changes(**wanted)
    assert found.config == config(**wanted)
    assert found.restart == ()
    assert [line.partition(":")[0] for line in found.said] == [
        "update.golden.yolo added",
        "update.gates.golden.min_recall",
        "log.level",
    ]


def test_what_needs_a_restart_is_left_as_it_was() -> None:
    """It is said by name, the rest is taken over; and it is said again until the node was started with it."""
    wanted = config(
        node={"id": "n2"},
        engine={"device": "cpu"},
        update={"spare_worker": False, "probation": {"seconds": 7}},
        pipelines=[CAM],
    )
    found = changes_between(config(), wanted)
    assert found.restart == ("engine.device", "node.id", "update.spare_worker")
    assert (found.config.node.id, found.config.engine.device) == ("n1", "auto")
    assert found.config.update.spare_worker
    assert found.config.update.probation.seconds == 7
    assert [p.name for p in found.config.pipelines] == ["cam"]
    again = changes_between(found.config, wanted)
    assert (again.said, again.restart) == ((), found.restart)


def test_settings_of_a_model() -> None:
    """Each limit is said by itself."""
    before = config(models={"yolo": {"confidence": {"dent": 0.4}}})
    after = config(models={"yolo": {"confidence": {"dent": 0.5, "hole": 0.2}, "min_size": 0.01}})
    found = changes_between(before, after)
    assert found.said == (
        "models.yolo.confidence.dent: 0.4 → 0.5",
        "models.yolo.confidence.hole added",
        "models.yolo.min_size: 0.0 → 0.01",
    )
    assert found.config == after
    assert changes_between(after, config()).said == (
        "models.yolo.confidence.dent removed",
        "models.yolo.confidence.hole removed",
        "models.yolo.min_size: 0.01 → 0.0",
    )
