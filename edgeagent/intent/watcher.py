# SPDX-License-Identifier: AGPL-3.0-or-later
"""From keys to intent: watches the keys of this node's models in all sources, and says what should serve.

Where roll-outs are followed, those of the first source, and the key of the coordinator that leads them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import structlog

from edgeagent.core.directive import Directive, current_key, decode_directive, pin_key
from edgeagent.core.following import Followed, SeenRollout, Standing
from edgeagent.core.precedence import BROKEN, UNREAD, Decision, Said, Unread, decide, heard, version_ahead
from edgeagent.core.rollout import COORDINATOR_KEY, rollout_key
from edgeagent.core.rollout_document import decode_rollout
from edgeagent.core.text import clean
from edgeagent.errors import DirectiveError, RolloutError
from edgeagent.intent.connection_log import ConnectionLog
from edgeagent.intent.port import Connection, Entry, IntentSource, Watch

T = TypeVar("T")
log = structlog.get_logger(__name__)

NOT_TRIED = "not tried yet"
PATIENCE_S = 30.0
"""How long after the start a source that has said nothing yet holds up those after it."""


class Rollouts(Protocol):
    """Who follows roll-outs on this node. Called on the event loop. decide: given by the watcher; to be called with a
    model when `standing` has changed by itself."""

    decide: Callable[[str], None]

    def standing(self, model: str) -> Standing:
        """How the node stands to those of a model, now."""

    def saw(self, model: str, followed: Followed) -> None:
        """What is known of the one of a model, and what it means here; told again with whatever is read."""


@dataclass(frozen=True)
class Callbacks:
    """Who is told.

    on_intent(model, directive): what should serve, when that has changed. on_preload(model, directive): what should be
    made ready only, None when nothing should any more. on_invalid(model, key, why): a value that can't be decoded; the
    intent before stays.
    """

    on_intent: Callable[[str, Directive], None]
    on_preload: Callable[[str, Directive | None], None]
    on_invalid: Callable[[str, str, str], None]


class WatchedSource:
    """A source with what it has said. number: its place in the order of the configuration; unsaid: of each model."""

    def __init__(self, number: int, source: IntentSource, models: Iterable[str], unsaid: Said) -> None:
        self.number = number
        self.source = source
        self.connection = Connection(False, NOT_TRIED)
        self.said = dict.fromkeys(models, unsaid)
        self._unsaid = unsaid
        self.decides: set[str] = set()
        """The models whose intent comes from here."""
        self.log = ConnectionLog(source.url)
        self._watch: Watch | None = None

    def watch(
        self,
        keys: Sequence[str],
        on_entry: Callable[[Entry], None],
        on_connection: Callable[[Connection], None],
    ) -> None:
        """Begin to watch, once."""
        self._watch = self.source.watch(keys, on_entry, on_connection)

    @property
    def is_silent(self) -> bool:
        """Whether it has said nothing at all since the start."""
        return all(said == self._unsaid for said in self.said.values())

    def give_up(self) -> None:
        """Don't wait for what it says any more."""
        self.said = dict.fromkeys(self.said, replace(self._unsaid, given_up=True))

    def close(self) -> None:
        """No callback comes after this; the source is closed."""
        if self._watch:
            self._watch.close()
        self.source.close()


class IntentWatcher:
    """The intent for one node. Callbacks come on the event loop that `start` was called on.

    sources: in the order in which they decide; see core/precedence.py. models: with the intent of each before the
    start, None where there was none. rollouts: without it, roll-outs aren't read at all.
    A deleted key makes the next one in the order count; where there is none, nothing changes.
    """

    def __init__(
        self,
        sources: Sequence[IntentSource],
        node: str,
        models: Mapping[str, Directive | None],
        callbacks: Callbacks,
        *,
        patience_s: float = PATIENCE_S,
        rollouts: Rollouts | None = None,
    ) -> None:
        self._before = dict(models)
        first = Said(rollout=UNREAD) if rollouts else Said()
        self.sources = [
            WatchedSource(n, source, models, Said() if n else first) for n, source in enumerate(sources)
        ]
        self._callbacks = callbacks
        self._patience_s = patience_s
        self._rollouts = rollouts
        # In the order in which they are told: when a roll-out ends, its version is known as `current` before that.
        self._pins = {pin_key(m, node): m for m in models}
        self._models = self._pins | {current_key(m): m for m in models}
        self._rollout_keys = {rollout_key(m): m for m in models} if rollouts else {}
        self._leader: str | None = None
        self._decided: dict[str, Decision] = {}
        self._ahead: dict[str, Directive] = {}
        self._patience: asyncio.TimerHandle | None = None

    @property
    def connection(self) -> Connection:
        """Of the first source, the config store."""
        return self.sources[0].connection

    def start(self) -> None:
        """Watch from now on. To be called once, on the event loop."""
        loop = asyncio.get_running_loop()
        if self._rollouts:
            self._rollouts.decide = self.decide

        def on_loop(act: Callable[[WatchedSource, T], None], source: WatchedSource) -> Callable[[T], None]:
            def call(seen: T) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(act, source, seen)

            return call

        for source in self.sources:
            keys = list(self._models)
            if self._rollouts and not source.number:
                keys += [*self._rollout_keys, COORDINATOR_KEY]
            source.watch(keys, on_loop(self._entry, source), on_loop(self._connection, source))
        if len(self.sources) > 1:
            self._patience = loop.call_later(self._patience_s, self._give_up)

    def log_connections(self, now: float) -> None:
        """Say in the log what was lost and what is back; to be called about every second. now: monotonic seconds."""
        for source in self.sources:
            if source.connection.why != NOT_TRIED:
                source.log.see(source.connection, now)

    async def stop(self) -> None:
        """No callback comes after this; the sources are closed."""
        if self._patience:
            self._patience.cancel()
        await asyncio.gather(*(asyncio.to_thread(source.close) for source in self.sources))

    def _connection(self, source: WatchedSource, connection: Connection) -> None:
        source.connection = Connection(connection.connected, clean(connection.why))

    def decide(self, model: str) -> None:
        """Say what should serve, and what should be made ready, if that has changed."""
        said = [source.said[model] for source in self.sources]
        me = self._rollouts.standing(model) if self._rollouts else Standing()
        decision, ahead = decide(said, me), version_ahead(said, me)
        if self._rollouts and not isinstance(said[0].rollout, Unread):
            pin = next((each.pin for each in said if isinstance(each.pin, Directive)), None)
            self._rollouts.saw(model, Followed(said[0].seen, said[0].part(me), pin, self._leader))
        if decision and decision != self._decided.get(model):
            self._decided[model] = decision
            for source in self.sources:
                source.decides.discard(model)
            self.sources[decision.source].decides.add(model)
            self._callbacks.on_intent(model, decision.directive)
        if ahead != self._ahead.get(model):
            self._ahead.pop(model, None)
            if ahead:
                self._ahead[model] = ahead
            self._callbacks.on_preload(model, ahead)

    def _entry(self, source: WatchedSource, entry: Entry) -> None:
        if entry.key == COORDINATOR_KEY:
            self._leader = "" if entry.value is None else entry.created
            for model in self._before:
                self.decide(model)
            return
        is_rollout = entry.key in self._rollout_keys
        model = (self._rollout_keys if is_rollout else self._models)[entry.key]
        try:
            said = self._with_rollout if is_rollout else self._with_intent
            source.said[model] = said(model, source, entry)
        except (DirectiveError, RolloutError) as e:
            why = f"{e} ({source.source.url})" if source.number else str(e)
            self._callbacks.on_invalid(model, entry.key, clean(why))
            if not is_rollout or source.said[model].rollout is not UNREAD:
                return
            # Since the start it has said nothing else: that must not keep `current` from nodes which have not begun.
            source.said[model] = replace(source.said[model], rollout=BROKEN, given_up=False)
        self.decide(model)

    def _with_intent(self, model: str, source: WatchedSource, entry: Entry) -> Said:
        """What the source has said with this. Raises DirectiveError."""
        directive = None
        if entry.value is not None:
            directive = decode_directive(entry.key, entry.value, f"{entry.revision}{_suffix(source)}")
        before = self._before[model]
        if before and not _is_of(before, entry.key, source):
            before = None
        is_pin = entry.key in self._pins
        said = heard(source.said[model], is_pin, directive, before)
        return said if is_pin else replace(said, revision=_plain(entry.revision))

    def _with_rollout(self, model: str, source: WatchedSource, entry: Entry) -> Said:
        """The same. Raises RolloutError."""
        seen = None
        if entry.value is not None:
            seen = SeenRollout(decode_rollout(entry.key, entry.value), _plain(entry.revision))
        return replace(source.said[model], rollout=seen, given_up=False)

    def _give_up(self) -> None:
        """Sources that have said nothing since the start hold up the others no longer."""
        for source in self.sources:
            if source.is_silent:
                why = source.connection.why
                log.warning("source.given_up", intent_source=source.source.url, why=why)
                source.give_up()
        for model in self._before:
            self.decide(model)


def _plain(revision: str) -> str:
    """As transactions take it, and documents name it: what follows tells that a restored cluster has it written anew
    (intent/etcd_watch.py)."""
    return revision.partition(" ")[0]


def _suffix(source: WatchedSource) -> str:
    """Of the revision of its keys: the same key of another source is another intent, also under the same revision."""
    return f" of {source.source.url}" if source.number else ""


def _is_of(directive: Directive, key: str, source: WatchedSource) -> bool:
    """Whether this key of this source said it."""
    written, _, revision = directive.intent_id.partition("@")
    _, _, url = revision.partition(" of ")
    return written == key and url == (source.source.url if source.number else "")
