# SPDX-License-Identifier: AGPL-3.0-or-later
"""From keys to intent: watches the keys of this node's models in all sources, and says what should serve.

Where roll-outs are followed, those of the first source, and the key of the coordinator that leads them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Protocol, TypeVar

import structlog

from edgeagent.core.directive import Directive, current_key, decode_directive, pin_key
from edgeagent.core.following import Followed, SeenRollout, Standing
from edgeagent.core.precedence import BROKEN, UNREAD, Decision, Said, Unread, decide, heard, version_ahead
from edgeagent.core.rollout import COORDINATOR_KEY, rollout_key
from edgeagent.core.rollout_document import decode_rollout
from edgeagent.core.text import clean
from edgeagent.errors import DirectiveError, RolloutError
from edgeagent.intent.port import Connection, Entry, IntentSource
from edgeagent.intent.watched_source import NOT_TRIED, WatchedSource

T = TypeVar("T")
log = structlog.get_logger(__name__)

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


class _Key(Enum):
    """What a key says of a model."""

    PIN, CURRENT, ROLLOUT = range(3)


_Known = tuple[str, _Key]


class IntentWatcher:
    """The intent for one node. Callbacks come on the event loop that `start` was called on.

    sources: in the order in which they decide; see core/precedence.py. models: with the intent of each before the
    start, None where there was none; others may come later. rollouts: without it, roll-outs aren't read at all.
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
        self._node = node
        self._before = dict(models)
        first = Said(rollout=UNREAD) if rollouts else Said()
        self.sources = [
            WatchedSource(n, source, models, Said() if n else first) for n, source in enumerate(sources)
        ]
        self._callbacks = callbacks
        self._patience_s = patience_s
        self._rollouts = rollouts
        self._watch_of = dict.fromkeys(models, 0)  # numbers of watches
        self._watches = itertools.count(1)
        self._leader: str | None = None
        self._decided: dict[str, Decision] = {}
        self._ahead: dict[str, Directive] = {}
        self._patience: dict[int, asyncio.TimerHandle] = {}  # by watch

    @property
    def connection(self) -> Connection:
        """Of the first source, the config store."""
        return self.sources[0].connection

    def start(self) -> None:
        """Watch from now on. To be called once, on the event loop."""
        if self._rollouts:
            self._rollouts.decide = self.decide
        self._watch(0, list(self._before))

    def add(self, model: str, before: Directive | None) -> None:
        """Say what should serve of one more model. before: its intent before that, None where there was none."""
        self._before[model] = before
        self._watch_of[model] = number = next(self._watches)
        for source in self.sources:
            source.begin(model)
        self._watch(number, [model])

    async def remove(self, model: str) -> None:
        """Say nothing of this model any more, from now on."""
        number = self._watch_of.pop(model)
        for known in (self._before, self._decided, self._ahead):
            known.pop(model, None)
        for source in self.sources:
            source.forget(model)
        if number:  # that of the start has others, too; what comes of this model is left aside
            if patience := self._patience.pop(number, None):
                patience.cancel()
            await asyncio.gather(*(source.unwatch(number) for source in self.sources))

    def _watch(self, number: int, models: Sequence[str]) -> None:
        """Watch these models' keys in all sources."""
        loop = asyncio.get_running_loop()
        # In the order in which they are told: when a roll-out ends, its version is known as `current` before that.
        intents = {pin_key(m, self._node): (m, _Key.PIN) for m in models}
        intents |= {current_key(m): (m, _Key.CURRENT) for m in models}
        rollouts = {rollout_key(m): (m, _Key.ROLLOUT) for m in models} if self._rollouts else {}

        def on_loop(act: Callable[[T], None]) -> Callable[[T], None]:
            def call(seen: T) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(act, seen)

            return call

        for source in self.sources:
            known = intents if source.number else intents | rollouts
            led = [COORDINATOR_KEY] if self._rollouts and not source.number and not number else []
            on_entry = on_loop(partial(self._entry, source, number, known))
            source.watch(number, [*known, *led], on_entry, on_loop(partial(self._connection, source, number)))
        if len(self.sources) > 1:
            self._patience[number] = loop.call_later(self._patience_s, self._give_up, number)

    def log_connections(self, now: float) -> None:
        """Say in the log what was lost and what is back; to be called about every second. now: monotonic seconds."""
        for source in self.sources:
            if source.connection.why != NOT_TRIED:
                source.log.see(source.connection, now)

    async def stop(self) -> None:
        """No callback comes after this; the sources are closed."""
        for patience in self._patience.values():
            patience.cancel()
        await asyncio.gather(*(asyncio.to_thread(source.close) for source in self.sources))

    def _connection(self, source: WatchedSource, watch: int, connection: Connection) -> None:
        source.connected(watch, Connection(connection.connected, clean(connection.why)))

    def decide(self, model: str) -> None:
        """Say what should serve, and what should be made ready, if that has changed."""
        if model not in self._before:
            return  # it was removed
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

    def _entry(self, source: WatchedSource, watch: int, known: Mapping[str, _Known], entry: Entry) -> None:
        if entry.key == COORDINATOR_KEY:
            self._leader = "" if entry.value is None else entry.created
            for model in list(self._before):
                self.decide(model)
            return
        model, kind = known[entry.key]
        if self._watch_of.get(model) != watch:
            return  # it was removed meanwhile, and may be there again: then under another watch
        is_rollout = kind is _Key.ROLLOUT
        try:
            if is_rollout:
                source.said[model] = self._with_rollout(model, source, entry)
            else:
                source.said[model] = self._with_intent(model, source, entry, kind is _Key.PIN)
        except (DirectiveError, RolloutError) as e:
            why = f"{e} ({source.source.url})" if source.number else str(e)
            self._callbacks.on_invalid(model, entry.key, clean(why))
            if not is_rollout or source.said[model].rollout is not UNREAD:
                return
            # Since the start it has said nothing else: that must not keep `current` from nodes which have not begun.
            source.said[model] = replace(source.said[model], rollout=BROKEN, given_up=False)
        self.decide(model)

    def _with_intent(self, model: str, source: WatchedSource, entry: Entry, is_pin: bool) -> Said:
        """What the source has said with this. Raises DirectiveError."""
        directive = None
        if entry.value is not None:
            directive = decode_directive(entry.key, entry.value, f"{entry.revision}{_suffix(source)}")
        before = self._before[model]
        if before and not _is_of(before, entry.key, source):
            before = None
        said = heard(source.said[model], is_pin, directive, before)
        return said if is_pin else replace(said, revision=_plain(entry.revision))

    def _with_rollout(self, model: str, source: WatchedSource, entry: Entry) -> Said:
        """The same. Raises RolloutError."""
        seen = None
        if entry.value is not None:
            seen = SeenRollout(decode_rollout(entry.key, entry.value), _plain(entry.revision))
        return replace(source.said[model], rollout=seen, given_up=False)

    def _give_up(self, watch: int) -> None:
        """Sources that have said nothing since this watch began hold up the others no longer."""
        self._patience.pop(watch, None)
        models = [model for model, of in self._watch_of.items() if of == watch]
        for source in self.sources:
            if all(source.has_not_said(model) for model in models):
                why = source.connection.why
                log.warning("source.given_up", intent_source=source.source.url, why=why)
                for model in models:
                    source.give_up(model)
        for model in models:
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
