# SPDX-License-Identifier: AGPL-3.0-or-later
"""From keys to wishes: watches the keys of this node's models, and says for each model what is wished for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from edgeagent.core.directive import Directive, current_key, decode_directive, pin_key
from edgeagent.errors import DirectiveError
from edgeagent.intent.port import Connection, Entry, IntentSource, Watch


class IntentWatcher:
    """The wishes for one node. Callbacks come on the event loop that `start` was called on.

    on_wish(model, directive): what should serve, each time a key was written; a pin of this node wins over the
    wish for all, which counts only once it is known that there is no pin. on_invalid(model, key, why): a value that
    can't be decoded; the wish before stays. A deleted key changes nothing, but for a pin: then the wish for all holds
    again.
    """

    def __init__(
        self,
        source: IntentSource,
        node: str,
        models: Iterable[str],
        on_intent: Callable[[str, Directive], None],
        on_invalid: Callable[[str, str, str], None],
    ) -> None:
        self._source = source
        self.connection = Connection(False, "not tried yet")
        self._on_intent = on_intent
        self._on_invalid = on_invalid
        self._keys = {k: m for m in models for k in (current_key(m), pin_key(m, node))}
        self._pins = {m: pin_key(m, node) for m in self._keys.values()}
        # By key, the last that could be decoded; None: there is no such pin. A key that isn't here was not read yet.
        self._directives: dict[str, Directive | None] = {}
        self._watch: Watch | None = None

    def start(self) -> None:
        """Watch from now on. To be called once, on the event loop."""
        loop = asyncio.get_running_loop()

        def entry(seen: Entry) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._entry, seen)

        def connection(seen: Connection) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(setattr, self, "connection", seen)

        self._watch = self._source.watch(list(self._keys), entry, connection)

    async def stop(self) -> None:
        """No callback comes after this; the source is closed."""
        if self._watch:
            await asyncio.to_thread(self._watch.close)
        await asyncio.to_thread(self._source.close)

    def _entry(self, entry: Entry) -> None:
        model = self._keys[entry.key]
        if entry.value is not None:
            try:
                self._directives[entry.key] = decode_directive(entry.key, entry.value, entry.revision)
            except DirectiveError as e:
                self._on_invalid(model, entry.key, str(e))
                return
        elif entry.key == self._pins[model]:
            self._directives[entry.key] = None
        pin = self._pins[model]
        if pin not in self._directives:
            return  # after a start: what the pin may outweigh must not serve, nor end a hold, meanwhile
        directive = self._directives[pin] or self._directives.get(current_key(model))
        if directive:
            self._on_intent(model, directive)
