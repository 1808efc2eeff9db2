# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several sources on one node: who decides, what is said of it, and what a source does that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.following import Followed, Part, Standing
from edgeagent.core.rollout import COORDINATOR_KEY, Status, rollout_directive, rollout_key
from edgeagent.core.rollout_document import encode_rollout
from edgeagent.intent.port import ABSENT, Connection, Entry, OnConnection, OnEntry, Watch
from edgeagent.intent.watcher import Callbacks, IntentWatcher, Rollouts
from tests.support.rollout_seen import a_rollout

CURRENT = "/models/yolo/current"
ROLLOUT = rollout_key("yolo")
ROLLED = f"{ROLLOUT}@r1"
PIN = "/models/yolo/pins/n1"


def document(status: Status = Status.ROLLING, **fields: Any) -> bytes:
    """The value of the roll-out's key."""
    return encode_rollout(a_rollout(status, **fields))


class FakeFollower:
    """A node that may begin whenever it is said so; it takes up what it is told."""

    def __init__(self) -> None:
        self.me = Standing("yolo", "n1")
        self.seen: list[Followed] = []
        self.decide: Callable[[str], None] = lambda model: None

    def standing(self, model: str) -> Standing:
        return self.me

    def saw(self, model: str, followed: Followed) -> None:
        self.seen.append(followed)


class FakeSource:
    """Says what the test says."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.closed = False

    def watch(self, keys: Sequence[str], on_entry: OnEntry, on_connection: OnConnection) -> Watch:
        self.keys = list(keys)
        self.on_entry, self.on_connection = on_entry, on_connection
        return self

    def close(self) -> None:
        self.closed = True

    def tell(self, key: str, value: str | bytes | None, revision: str = "7") -> None:
        """One key as it stands."""
        encoded = value.encode() if isinstance(value, str) else value
        there = value is not None
        self.on_entry(Entry(key, encoded, revision if there else ABSENT, "3" if there else ""))

    def say(self, revision: int, *, pin: str | None = None, current: str | None = None) -> None:
        """Both keys as they stand: connected."""
        self.on_connection(Connection(True))
        for key, value in ((PIN, pin), (CURRENT, current)):
            self.on_entry(Entry(key, value and value.encode(), str(revision) if value else ABSENT))


class Bench:
    """A watcher of two sources, and what it said."""

    def __init__(
        self,
        patience_s: float = 60.0,
        before: Directive | None = None,
        rollouts: Rollouts | None = None,
    ) -> None:
        self.first, self.second = FakeSource("etcd://a:1"), FakeSource("kafka://b:2/t")
        self.directives: list[Directive] = []
        self.invalid: list[str] = []
        self.ahead: list[str | None] = []
        self.watcher = IntentWatcher(
            [self.first, self.second],
            "n1",
            {"yolo": before},
            Callbacks(
                lambda model, directive: self.directives.append(directive),
                lambda model, directive: self.ahead.append(directive and directive.version),
                lambda model, key, why: self.invalid.append(why),
            ),
            patience_s=patience_s,
            rollouts=rollouts,
        )
        self.watcher.start()

    @property
    def intents(self) -> list[tuple[str, str]]:
        """Version and identity of what was intended so far."""
        return [(d.version, d.intent_id) for d in self.directives]

    async def versions(self) -> list[str]:
        """The versions that were intended so far."""
        for _ in range(5):
            await asyncio.sleep(0)
        return [version for version, _ in self.intents]

    async def told(self) -> str:
        """The intent that was told last."""
        await self.versions()
        return self.intents[-1][1] if self.intents else ""

    def decides(self) -> list[set[str]]:
        """The models that each source decides."""
        return [source.decides for source in self.watcher.sources]


def on_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    """Run a test as a coroutine."""

    def run() -> None:
        asyncio.run(test())

    run.__doc__, run.__name__ = test.__doc__, test.__name__
    return run


@on_loop
async def test_the_first_source_that_has_a_key_decides() -> None:
    """A pin of any source before every key for all; what decides no more gives way to the next."""
    bench = Bench()
    bench.second.say(1, current="k1")
    assert await bench.versions() == []  # the first may have one
    bench.first.say(1, current="e1")
    assert await bench.versions() == ["e1"]
    assert bench.decides() == [{"yolo"}, set()]
    bench.second.say(2, current="k2")
    assert await bench.versions() == ["e1"]
    bench.second.say(3, pin="p3", current="k2")
    assert await bench.versions() == ["e1", "p3"]
    bench.second.say(4, current="k2")
    bench.first.say(4)
    assert (await bench.versions())[-1] == "k2"
    assert bench.decides() == [set(), {"yolo"}]
    bench.second.say(5)
    assert (await bench.versions())[-1] == "k2"  # nothing exists any more: nothing changes
    await bench.watcher.stop()
    assert bench.first.closed
    assert bench.second.closed


@on_loop
async def test_the_same_revision_of_another_source_is_another_intent() -> None:
    """The identity of the first source's intents stays as it was when it was the only one."""
    bench = Bench()
    bench.first.say(7, current="v1")
    bench.second.say(7, current="v1")
    await bench.versions()
    bench.first.say(8)
    await bench.versions()
    assert [intent for _, intent in bench.intents] == [f"{CURRENT}@7", f"{CURRENT}@7 of kafka://b:2/t"]
    await bench.watcher.stop()


@on_loop
async def test_a_source_that_is_away_keeps_what_it_said() -> None:
    """Away is not "no key"."""
    bench = Bench()
    bench.first.say(1, current="e1")
    bench.second.say(1, current="k1")
    bench.first.on_connection(Connection(False, "gone"))
    assert await bench.versions() == ["e1"]
    assert bench.watcher.connection == Connection(False, "gone")
    await bench.watcher.stop()


@on_loop
async def test_a_dead_source_holds_up_the_others_for_a_while() -> None:
    """Then they decide; when it speaks up at last, it has its place again, once both of its keys are known."""
    bench = Bench(patience_s=0.0)
    bench.second.say(1, current="k1")
    while not bench.intents:
        await asyncio.sleep(0)
    assert await bench.versions() == ["k1"]
    bench.first.on_entry(Entry(PIN, None, ABSENT))
    assert await bench.versions() == ["k1"]
    bench.first.say(2, current="e2")
    assert await bench.versions() == ["k1", "e2"]
    await bench.watcher.stop()


@on_loop
async def test_a_value_that_cant_be_decoded_lets_nobody_else_decide() -> None:
    """The intent before stays, and where there was none yet, there is none; the message names the source."""
    bench = Bench()
    bench.second.say(1, current="k1")
    bench.first.say(1, current="{broken")
    assert await bench.versions() == []
    bench.first.say(2, current="e2")
    assert await bench.versions() == ["e2"]
    bench.second.say(3, pin="{broken")
    assert await bench.versions() == ["e2"]
    assert "kafka://b:2/t" not in bench.invalid[0]
    assert "kafka://b:2/t" in bench.invalid[1]
    await bench.watcher.stop()


def test_a_source_is_closed_also_when_it_was_never_watched() -> None:
    """A start that failed half-way."""
    source = FakeSource("etcd://a:1")
    watcher = IntentWatcher([source], "n1", {"yolo": None}, Callbacks(*[lambda *_: None] * 3))
    asyncio.run(watcher.stop())
    assert source.closed
    with pytest.raises(AttributeError):
        _ = source.on_entry


def ahead(version: str) -> str:
    """The value that has a version made ready only."""
    return f'{{"version": "{version}", "preload": true}}'


@on_loop
async def test_a_version_that_is_to_be_preloaded_is_no_intent_to_serve() -> None:
    """What should serve stays what it was, from the same key and source; the next word about that ends it."""
    bench = Bench()
    bench.first.say(1, current="v1")
    bench.second.say(1, current="v0")
    bench.first.say(2, current=ahead("v2"))
    assert await bench.versions() == ["v1"]
    assert bench.ahead == ["v2"]
    assert bench.decides() == [{"yolo"}, set()]
    bench.first.say(3, current=ahead("v2"))  # written again: another directive
    bench.second.say(3, current=ahead("v9"))  # isn't followed
    await bench.versions()
    assert bench.ahead == ["v2", "v2"]
    bench.first.say(4, current="v2")
    assert await bench.versions() == ["v1", "v2"]
    assert bench.ahead == ["v2", "v2", None]
    await bench.watcher.stop()


@on_loop
async def test_a_pin_that_preloads_leaves_the_pin_as_it_was() -> None:
    """Without one before it, `current` is followed; deleted, it leaves nothing behind."""
    bench = Bench()
    bench.second.say(1)
    bench.first.say(1, current="v1", pin=ahead("v3"))
    assert (await bench.versions(), bench.ahead) == (["v1"], ["v3"])
    bench.first.say(2, current="v1", pin="v2")
    bench.first.say(3, current="v1", pin=ahead("v3"))
    assert await bench.versions() == ["v1", "v2"]
    bench.first.say(4, current="v1")
    assert (await bench.versions())[-1] == "v1"
    assert bench.ahead == ["v3", None, "v3", None]
    await bench.watcher.stop()


@on_loop
async def test_after_a_start_what_was_saved_of_that_key_stands() -> None:
    """What another key, or the same of another source, has said does not."""
    for intent_id, stands in (
        (f"{CURRENT}@7", True),
        (f"{PIN}@7", False),
        (f"{CURRENT}@7 of etcd://b", False),
    ):
        bench = Bench(before=Directive("v1", intent_id))
        bench.second.say(8, current="v0")
        bench.first.say(8, current=ahead("v2"))
        assert await bench.versions() == (["v1"] if stands else ["v0"])
        assert bench.ahead == ["v2"]
        await bench.watcher.stop()


# -- roll-outs ---------------------------------------------------------------------------------------


@on_loop
async def test_only_who_follows_roll_outs_reads_them() -> None:
    """And only those of the first source; `current` is told before a roll-out that builds on it."""
    bench = Bench()
    assert bench.first.keys == bench.second.keys == [PIN, CURRENT]
    following = Bench(rollouts=FakeFollower())
    assert following.first.keys == [PIN, CURRENT, ROLLOUT, COORDINATOR_KEY]
    assert following.second.keys == [PIN, CURRENT]


@on_loop
async def test_a_roll_out_from_its_start_to_its_end() -> None:
    """Nothing counts before it is known whether there is one; then `current`, until the node may begin."""
    node = FakeFollower()
    bench = Bench(rollouts=node)
    bench.second.say(1)
    bench.first.say(5, current="v1")
    assert await bench.told() == ""
    bench.first.tell(ROLLOUT, document(), "7")
    assert await bench.told() == f"{CURRENT}@5"
    assert (node.seen[-1].part, node.seen[-1].leader) == (Part.WAITS, None)
    bench.first.tell(COORDINATOR_KEY, "{}")
    await bench.versions()
    assert (node.seen[-1].part, node.seen[-1].leader) == (Part.WAITS, "3")
    node.me = replace(node.me, granted="7")
    node.decide("yolo")
    assert await bench.told() == ROLLED
    node.me = replace(node.me, granted="", directive=rollout_directive("yolo", a_rollout()))
    bench.first.tell(COORDINATOR_KEY, None)
    bench.first.tell(ROLLOUT, document(Status.BAKING), "8")
    assert await bench.told() == ROLLED
    assert (node.seen[-1].part, node.seen[-1].leader) == (Part.FOLLOWS, "")
    bench.first.tell(CURRENT, "v2", "9")  # done: in one step, and told one after the other
    bench.first.tell(ROLLOUT, None)
    assert await bench.told() == f"{CURRENT}@9"
    assert [version for version, _ in bench.intents] == ["v1", "v2", "v2"]


@on_loop
async def test_a_broken_document_changes_nothing() -> None:
    """It is said once which key, and what is wrong; what was followed before stays, and `current` still wins."""
    node = FakeFollower()
    node.me = replace(node.me, directive=rollout_directive("yolo", a_rollout()))
    bench = Bench(rollouts=node)
    bench.second.say(1)
    bench.first.say(5, current="v1")
    bench.first.tell(ROLLOUT, document())
    assert await bench.told() == ROLLED
    for broken in (b"{", b"\xff", b"[]", b'{"id": "r1"}', document().replace(b'"rolling"', b'"rollin"')):
        bench.first.tell(ROLLOUT, broken, "8")
    assert await bench.told() == ROLLED
    assert len(bench.intents) == 1
    assert len(bench.invalid) == 5
    assert all(ROLLOUT in why for why in bench.invalid)
    bench.first.tell(CURRENT, "v3", "9")
    assert await bench.told() == f"{CURRENT}@9"


@on_loop
async def test_a_document_that_is_broken_from_the_start_keeps_current_from_nobody() -> None:
    """Of a node that hasn't begun, also of one that is new; once it can be read, it is followed."""
    node = FakeFollower()
    bench = Bench(rollouts=node)
    bench.second.say(1)
    bench.first.say(5, current="v1")
    bench.first.tell(ROLLOUT, b"{", "8")
    assert await bench.versions() == ["v1"]
    assert len(bench.invalid) == 1
    assert node.seen == []
    node.me = replace(node.me, granted="9")
    bench.first.tell(ROLLOUT, document(), "9")
    assert await bench.versions() == ["v1", "v2"]


@on_loop
async def test_what_was_begun_before_the_document_broke_stays_over_a_restart() -> None:
    """Whether `current` was written since the roll-out was planned, nobody can tell then."""
    node = FakeFollower()
    node.me = replace(node.me, directive=rollout_directive("yolo", a_rollout()))
    bench = Bench(rollouts=node)
    bench.second.say(1)
    bench.first.say(5, current="v1")
    bench.first.tell(ROLLOUT, b"{", "8")
    assert await bench.versions() == []
    bench.first.tell(ROLLOUT, None)
    assert await bench.versions() == ["v1"]


@on_loop
async def test_what_came_back_stays_the_same_intent() -> None:
    """The document of an aborted roll-out goes with the next one, whose first wave isn't open yet."""
    node = FakeFollower()
    node.me = replace(node.me, directive=rollout_directive("yolo", a_rollout()))
    bench = Bench(rollouts=node)
    bench.second.say(1)
    bench.first.say(5, current="v1")
    bench.first.tell(ROLLOUT, document(Status.ABORTING), "8")
    await bench.versions()
    assert [(d.version, d.returns) for d in bench.directives] == [("v1", True)]
    node.me = replace(node.me, directive=bench.directives[0])
    bench.first.tell(ROLLOUT, document(Status.ABORTED, why="v2 crashed"), "9")
    bench.first.tell(ROLLOUT, document(Status.PLANNED, id="r2", wave=-1, open_below=0), "10")
    await bench.versions()
    assert len(bench.directives) == 1


@on_loop
async def test_a_pin_is_told_to_who_follows() -> None:
    """Of whichever source; it counts instead of the roll-out."""
    node = FakeFollower()
    bench = Bench(rollouts=node)
    bench.first.say(5, current="v1")
    bench.first.tell(ROLLOUT, document())
    bench.second.say(1, pin="p1")
    assert (await bench.versions())[-1:] == ["p1"]
    pin = node.seen[-1].pin
    assert pin
    assert pin.version == "p1"


@on_loop
async def test_a_document_that_a_restored_cluster_has_written_anew_is_the_same() -> None:
    """It is told twice, the first time under a number that no transaction takes."""
    node = FakeFollower()
    bench = Bench(rollouts=node)
    bench.first.say(5, current="v1")
    bench.first.tell(ROLLOUT, document(), "7 (restored)")
    await bench.versions()
    assert node.seen[-1].seen
    assert node.seen[-1].seen.revision == "7"


@on_loop
async def test_a_first_source_that_was_given_up_holds_nobody_up_with_its_roll_outs() -> None:
    """When it speaks up, all three keys are awaited."""
    bench = Bench(patience_s=0.0, rollouts=FakeFollower())
    bench.second.say(1, current="k1")
    while not bench.intents:
        await asyncio.sleep(0)
    bench.first.say(2, current="e2")
    assert (await bench.versions())[-1] == "k1"
    bench.first.tell(ROLLOUT, None)
    assert (await bench.versions())[-1] == "e2"


@on_loop
async def test_a_model_comes_and_goes_while_others_are_watched() -> None:
    """Its keys are watched apart, and nothing is read anew of the others; what still comes of it then is left aside."""
    told: list[tuple[str, str]] = []
    invalid: list[str] = []
    source = FakeSource("etcd://a:1")
    watcher = IntentWatcher(
        [source],
        "n1",
        {"yolo": None},
        Callbacks(
            lambda model, directive: told.append((model, directive.version)),
            lambda model, directive: None,
            lambda model, key, why: invalid.append(key),
        ),
    )

    async def heard() -> list[tuple[str, str]]:
        for _ in range(5):
            await asyncio.sleep(0)
        return told

    watcher.start()
    of_yolo, said_of_yolo = source.on_entry, source.on_connection
    source.say(1, current="v1")
    assert await heard() == [("yolo", "v1")]
    watcher.add("labels", None)
    assert source.keys == ["/models/labels/pins/n1", "/models/labels/current"]
    said_of_labels, of_labels = source.on_connection, source.on_entry
    said_of_labels(Connection(False, "no right to read these keys"))
    await heard()
    assert watcher.connection == Connection(False, "no right to read these keys")
    of_labels(Entry("/models/labels/pins/n1", None, ABSENT))
    of_labels(Entry("/models/labels/current", b"l1", "3"))
    assert (await heard())[1:] == [("labels", "l1")]

    await watcher.remove("labels")
    assert watcher.connection.connected
    of_labels(Entry("/models/labels/current", b"l2", "4"))
    await watcher.remove("yolo")
    of_yolo(Entry(CURRENT, b"v2", "5"))
    of_yolo(Entry(CURRENT, b"{", "6"))
    said_of_yolo(Connection(True))
    watcher.add("yolo", None)
    of_yolo(Entry(CURRENT, b"v2", "7"))
    assert (await heard())[2:] == []
    assert invalid == []
    source.say(7, current="v2")
    assert (await heard())[2:] == [("yolo", "v2")]
    assert watcher.sources[0].decides == {"yolo"}
    await watcher.stop()


@on_loop
async def test_a_source_that_is_away_holds_up_no_model_that_comes_later() -> None:
    """Its patience begins with that model's watch."""
    bench = Bench(patience_s=0.0)
    bench.second.say(1, current="k1")
    while not bench.intents:
        await asyncio.sleep(0)
    bench.watcher.add("labels", None)
    bench.second.on_entry(Entry("/models/labels/pins/n1", None, ABSENT))
    bench.second.on_entry(Entry("/models/labels/current", b"l1", "1"))
    while len(bench.intents) < 2:
        await asyncio.sleep(0)
    assert bench.intents[1][0] == "l1"
