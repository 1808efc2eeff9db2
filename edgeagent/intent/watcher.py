# SPDX-License-Identifier: AGPL-3.0-or-later
"""From keys to intent: watches the keys of this node's models in all sources, and says what should serve."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import structlog

from edgeagent.core.directive import Directive, current_key, decode_directive, pin_key
from edgeagent.core.precedence import Decision, Said, decide, heard, version_ahead
from edgeagent.core.text import clean
from edgeagent.errors import DirectiveError
from edgeagent.intent.connection_log import ConnectionLog
from edgeagent.intent.port import Connection, Entry, IntentSource, Watch

T = TypeVar("T")
log = structlog.get_logger(__name__)

NOT_TRIED = "not tried yet"
PATIENCE_S = 30.0
"""How long after the start a source that has said nothing yet holds up those after it."""


class WatchedSource:
    """A source with what it has said. number: its place in the order of the configuration."""

    def __init__(self, number: int, source: IntentSource, models: Iterable[str]) -> None:
        self.number = number
        self.source = source
        self.connection = Connection(False, NOT_TRIED)
        self.said = dict.fromkeys(models, Said())
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

    def close(self) -> None:
        """No callback comes after this; the source is closed."""
        if self._watch:
            self._watch.close()
        self.source.close()


class IntentWatcher:
    """The intent for one node. Callbacks come on the event loop that `start` was called on.

    sources: in the order in which they decide; see core/precedence.py. models: with the intent of each before the
    start, None where there was none.
    on_intent(model, directive): what should serve, when that has changed. on_preload(model, directive): what should be
    made ready only, None when nothing should any more. on_invalid(model, key, why): a value that can't be decoded; the
    intent before stays. A deleted key makes the next one in the order count; where there is none, nothing changes.
    """

    def __init__(
        self,
        sources: Sequence[IntentSource],
        node: str,
        models: Mapping[str, Directive | None],
        on_intent: Callable[[str, Directive], None],
        on_preload: Callable[[str, Directive | None], None],
        on_invalid: Callable[[str, str, str], None],
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._before = dict(models)
        self.sources = [WatchedSource(n, source, models) for n, source in enumerate(sources)]
        self._on_intent = on_intent
        self._on_preload = on_preload
        self._on_invalid = on_invalid
        self._patience_s = patience_s
        self._pins = {pin_key(m, node): m for m in models}
        self._models = self._pins | {current_key(m): m for m in models}
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

        def on_loop(act: Callable[[WatchedSource, T], None], source: WatchedSource) -> Callable[[T], None]:
            def call(seen: T) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(act, source, seen)

            return call

        for source in self.sources:
            source.watch(list(self._models), on_loop(self._entry, source), on_loop(self._connection, source))
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

    def _entry(self, source: WatchedSource, entry: Entry) -> None:
        model = self._models[entry.key]
        directive = None
        if entry.value is not None:
            revision = f"{entry.revision}{_suffix(source)}"
            try:
                directive = decode_directive(entry.key, entry.value, revision)
            except DirectiveError as e:
                why = f"{e} ({source.source.url})" if source.number else str(e)
                self._on_invalid(model, entry.key, clean(why))
                return
        before = self._before[model]
        if before and not _is_of(before, entry.key, source):
            before = None
        source.said[model] = heard(source.said[model], entry.key in self._pins, directive, before)
        self._decide(model)

    def _give_up(self) -> None:
        """Sources that have said nothing since the start hold up the others no longer."""
        silent = [s for s in self.sources if all(said == Said() for said in s.said.values())]
        for source in silent:
            log.warning("source.given_up", intent_source=source.source.url, why=source.connection.why)
            source.said = dict.fromkeys(source.said, Said(given_up=True))
        for model in self._pins.values():
            self._decide(model)

    def _decide(self, model: str) -> None:
        said = [source.said[model] for source in self.sources]
        decision, ahead = decide(said), version_ahead(said)
        if decision and decision != self._decided.get(model):
            self._decided[model] = decision
            for source in self.sources:
                source.decides.discard(model)
            self.sources[decision.source].decides.add(model)
            self._on_intent(model, decision.directive)
        if ahead != self._ahead.get(model):
            self._ahead.pop(model, None)
            if ahead:
                self._ahead[model] = ahead
            self._on_preload(model, ahead)


def _suffix(source: WatchedSource) -> str:
    """Of the revision of its keys: the same key of another source is another intent, also under the same revision."""
    return f" of {source.source.url}" if source.number else ""


def _is_of(directive: Directive, key: str, source: WatchedSource) -> bool:
    """Whether this key of this source said it."""
    written, _, revision = directive.intent_id.partition("@")
    _, _, url = revision.partition(" of ")
    return written == key and url == (source.source.url if source.number else "")
