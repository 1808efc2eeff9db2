# SPDX-License-Identifier: AGPL-3.0-or-later
"""The configuration in force: who may change it, one after the other, and nothing by halves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from edgeagent.config import Config, ConfigError, load_config
from edgeagent.config.changes import Changes
from edgeagent.config.edits import DropPipeline, PutPipeline
from edgeagent.core.events import AppendAudit
from edgeagent.errors import ConflictError, ForbiddenError, UnavailableError, UsageError
from edgeagent.live_config import LiveConfig
from edgeagent.observe.bus import Bus, ConfigChanged
from tests.support.on_loop import on_loop

NEW = {"model": "yolo", "source": {"url": "synthetic://conveyor"}}
BY = "anna from 127.0.0.1"


class FakeLines:
    """Does what it is told at once. missing: what a change needs and this machine lacks."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.classes = {"yolo": ["dent"]}
        self.missing = ""
        self.at_work = 0

    def check(self, changes: Changes) -> None:
        if self.missing:
            raise UsageError("the sink", self.missing)

    async def carry_out(self, changes: Changes) -> None:
        self.at_work += 1
        assert self.at_work == 1
        await asyncio.sleep(0)
        self.config = changes.config
        self.at_work -= 1


class Scene:
    """A node's configuration file, and what became of it."""

    def __init__(self, folder: Path, environ: dict[str, str] | None = None, **sections: Any) -> None:
        self.path = folder / "edgeagent.yaml"
        doc = {"node": {"id": "n1"}, "api": {"changes": {"allow": True}}, **sections}
        self.path.write_text(yaml.safe_dump(doc))
        self.lines = FakeLines(load_config(self.path, {}))
        self.audit: list[AppendAudit] = []
        self.told: list[ConfigChanged] = []
        self.followed: list[Config] = []
        bus = Bus()
        bus.subscribe(ConfigChanged, self.told.append)
        lines = cast("Any", self.lines)
        self.live = LiveConfig(self.path, lines, lambda _, r: self.audit.append(r), bus, environ or {})
        self.live.follow(self.followed.append)
        self.live.start()

    @property
    def names(self) -> list[str]:
        """Of the pipelines in the file."""
        return [p["name"] for p in yaml.safe_load(self.path.read_text()).get("pipelines") or []]

    async def revision(self) -> str:
        """Of the file."""
        return (await self.live.view()).revision

    async def put(self, name: str = "cam", if_revision: str | None = None, **changes: Any) -> Any:
        """Add or change a pipeline."""
        return await self.live.change(PutPipeline(name, NEW | changes), if_revision, BY)


@on_loop
async def test_a_change_is_written_taken_over_and_said(tmp_path: Path) -> None:
    """In the file, in force, in the audit log with who, to those who follow; a restart finds the same."""
    scene = Scene(tmp_path)
    before = await scene.revision()
    done = await scene.put(if_revision=before)
    assert done.changed == ["pipelines.cam added: yolo on synthetic://conveyor"]
    assert done.revision == await scene.revision() != before
    assert scene.names == ["cam"]
    assert load_config(scene.path, {}) == scene.live.config == scene.followed[-1]
    (record,) = scene.audit
    assert (record.event, record.result, record.by, record.why) == ("config", "changed", BY, done.changed[0])
    assert (scene.told[0].added, scene.told[0].by) == (("cam",), BY)
    assert scene.live.status().changed == done.changed
    assert yaml.safe_load((tmp_path / "edgeagent.yaml.1").read_text())["node"] == {"id": "n1"}
    await scene.live.change(DropPipeline("cam"), done.revision, BY)
    assert scene.names == []


def test_the_log_is_left_alone_unless_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To begin it anew waits for whoever reads it, and frames would wait with it."""
    begun: list[tuple[str, str]] = []
    monkeypatch.setattr("edgeagent.live_config.setup_logging", lambda *settings: begun.append(settings))

    async def work() -> None:
        scene = Scene(tmp_path)
        await scene.put()
        assert begun == []
        doc = yaml.safe_load(scene.path.read_text())
        scene.path.write_text(yaml.safe_dump(doc | {"log": {"level": "warning"}}))
        await scene.live.reload("SIGHUP")

    asyncio.run(work())
    assert begun == [("warning", "auto")]


@on_loop
async def test_of_two_at_once_one_comes_too_late(tmp_path: Path) -> None:
    """The second would undo what the first has done without having seen it; without a revision both count."""
    scene = Scene(tmp_path)
    seen = await scene.revision()
    first, second = await asyncio.gather(scene.put("a", seen), scene.put("b", seen), return_exceptions=True)
    assert not isinstance(first, Exception)
    assert isinstance(second, ConflictError)
    assert "another by now" in str(second)
    await asyncio.gather(scene.put("c"), scene.put("d"))
    assert scene.names == ["a", "c", "d"]


@on_loop
async def test_a_change_with_mistakes_changes_nothing(tmp_path: Path) -> None:
    """Neither the file nor what is in force; likewise when something is missing on the machine."""
    scene = Scene(tmp_path)
    before = scene.path.read_bytes()
    with pytest.raises(ConfigError, match="confidence"):
        await scene.put(confidence=2)
    scene.lines.missing = "no client for it"
    with pytest.raises(UsageError, match="no client"):
        await scene.put()
    assert scene.path.read_bytes() == before
    assert scene.live.config.pipelines == []
    assert scene.audit == []
    assert not list(tmp_path.glob("*.1"))


@pytest.mark.parametrize(
    ("api", "todo"),
    [({}, "set api.token_file"), ({"changes": {"allow": False}}, "change the file, and send SIGHUP")],
)
def test_the_api_changes_nothing_unless_it_may(tmp_path: Path, api: dict[str, Any], todo: str) -> None:
    """Where it asks for no token, anybody on the machine could. It says how it can be had."""
    scene = Scene(tmp_path, api=api)

    async def steps() -> None:
        assert not (await scene.live.view()).may_change
        with pytest.raises(ForbiddenError) as refused:
            await scene.put()
        assert refused.value.todo.startswith(todo)

    asyncio.run(steps())


def test_with_a_token_it_may(tmp_path: Path) -> None:
    """Unless the file says that it may not."""
    token = str(tmp_path / "token")
    for allow, may in ((None, True), (False, False)):
        scene = Scene(tmp_path, api={"token_file": token, "changes": {"allow": allow}})
        assert asyncio.run(scene.live.view()).may_change is may


@on_loop
async def test_what_variables_say_can_not_be_changed_here(tmp_path: Path) -> None:
    """The variable would win at once; and by its number it might be another pipeline's afterwards."""
    scene = Scene(tmp_path, {"EDGEAGENT_PIPELINES__0__CONFIDENCE": "0.9"}, pipelines=[NEW | {"name": "cam"}])
    assert (await scene.live.view()).overridden == ["EDGEAGENT_PIPELINES__0__CONFIDENCE"]
    with pytest.raises(ConflictError, match="EDGEAGENT_PIPELINES__0__CONFIDENCE"):
        await scene.put()


@on_loop
async def test_what_was_changed_by_hand_comes_with_it(tmp_path: Path) -> None:
    """It is in the file; and what needs a restart is said."""
    scene = Scene(tmp_path)
    doc = yaml.safe_load(scene.path.read_text())
    scene.path.write_text(yaml.safe_dump(doc | {"log": {"level": "debug"}, "engine": {"threads": 3}}))
    done = await scene.put()
    assert "log.level: info → debug" in done.changed
    assert done.needs_restart == ["engine.threads"]
    assert scene.live.config.engine.threads == 0


@on_loop
async def test_a_file_that_is_broken_by_now(tmp_path: Path) -> None:
    """It isn't written over: somebody is at work on it. What is in force is shown, and why."""
    scene = Scene(tmp_path)
    scene.path.write_text("pipelines: [")
    view = await scene.live.view()
    assert view.config["node"]["id"] == "n1"
    assert "broken YAML" in str(view.error)
    with pytest.raises(ConfigError, match="broken YAML"):
        await scene.put()
    scene.path.write_text("log: {}\nlog: {}\n")
    with pytest.raises(ConfigError, match="given twice"):
        await scene.put()
    with pytest.raises(ConfigError):
        await scene.live.reload("SIGHUP")
    assert "given twice" in str(scene.live.status().error)
    scene.path.unlink()
    with pytest.raises(ConfigError, match="can't be read"):
        await scene.put()


@on_loop
async def test_a_file_that_was_cut_off_takes_no_line_away(tmp_path: Path) -> None:
    """A full disk leaves it empty. Who wants no pipelines says so."""
    scene = Scene(tmp_path, pipelines=[{"name": "cam", **NEW}])
    scene.path.write_text("\n# nothing yet\n")
    with pytest.raises(ConfigError, match=r"is empty, and pipelines run; allowed: pipelines: \[\]"):
        await scene.live.reload("SIGHUP")
    with pytest.raises(ConfigError, match="is empty"):
        await scene.put("other")
    assert "is empty" in str(scene.live.status().error)
    assert [p.name for p in scene.live.config.pipelines] == ["cam"]
    scene.path.write_text("pipelines: []\n")
    await scene.live.reload("SIGHUP")
    assert not scene.live.config.pipelines


@on_loop
async def test_half_a_change_is_none(tmp_path: Path) -> None:
    """Who asked goes away; and a node that ends waits for what is under way, and begins nothing more."""
    scene = Scene(tmp_path)
    asked = asyncio.create_task(scene.put())
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.sleep(0)
    await scene.live.close(60)
    assert scene.names == [p.name for p in scene.live.config.pipelines] == ["cam"]


@on_loop
async def test_what_nobody_thought_of_is_said(tmp_path: Path) -> None:
    """A body that is nested for ever is a mistake; a fault in the middle is said until the node is started again."""
    scene = Scene(tmp_path)
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    with pytest.raises(UsageError, match="nested too deeply"):
        await scene.put(sinks=deep)

    async def fails(changes: Changes) -> None:
        raise KeyError("cam")

    cast("Any", scene.lines).carry_out = fails
    with pytest.raises(KeyError):
        await scene.put()
    assert "restart the node" in str(scene.live.status().error)


@on_loop
async def test_without_a_file(tmp_path: Path) -> None:
    """Nothing can be written; what is in force is shown."""
    scene = Scene(tmp_path)
    scene.live.path = None
    view = await scene.live.view()
    assert (view.path, view.revision, view.may_change) == (None, "", False)
    assert view.config["node"]["id"] == "n1"
    with pytest.raises(UnavailableError, match="without a configuration file"):
        await scene.put()
