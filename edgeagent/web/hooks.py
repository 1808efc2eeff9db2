# SPDX-License-Identifier: AGPL-3.0-or-later
"""Webhooks: who may ask for a version without the API's token, and what becomes of it.

What a delivery proves and asks for is decided in core/webhook.py. Here: secrets, deliveries that were seen before,
those who are refused too often, and the asking itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel

from edgeagent.config import HookConfig, read_secret
from edgeagent.core.webhook import Asked, Delivery, Headers, check_delivery, check_secret, pick
from edgeagent.errors import (
    EdgeAgentError,
    ExpiredError,
    NotFoundError,
    RateLimitError,
    UnauthorizedError,
    UnavailableError,
    UsageError,
)
from edgeagent.util.durable import write_durably
from edgeagent.web.port import NodeApi

SEEN_PER_HOOK = 500
REFUSALS = 10
REFUSALS_S = 60.0
MAX_PEERS = 1000
TURN_S = 10.0
"""How long a delivery waits for those before it to be written: a config store that hangs would keep all of them, and
every thread of the node's pool."""

_RESULT_OF: tuple[tuple[type[EdgeAgentError], str], ...] = (
    (UnauthorizedError, "refused"),
    (ExpiredError, "refused"),
    (RateLimitError, "refused"),
    (UsageError, "invalid"),
)
_log = structlog.get_logger(__name__)


class AskedVersion(BaseModel):
    """A version that a delivery asked for."""

    model: str
    version: str


class HookAnswer(BaseModel):
    """What became of a delivery: accepted, ignored (not one that is meant), or a duplicate of one accepted before."""

    hook: str
    state: Literal["accepted", "ignored", "duplicate"]
    asked: list[AskedVersion] = []


class Hooks:
    """The hooks of a node. To be used on its event loop.

    memory: file of the deliveries that were accepted, which outlive a restart. count: is told the hook and the result
    of each delivery: what the answer says, else refused (not signed as it should be), invalid (can't be understood) or
    failed. clock: Unix seconds.
    """

    def __init__(
        self,
        configs: Mapping[str, HookConfig],
        node: NodeApi,
        memory: Path,
        count: Callable[[str, str], None] = lambda hook, result: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._configs = configs
        self._node = node
        self._seen = _SeenDeliveries(memory)
        self._refusals = _Refusals()
        self._turn = asyncio.Lock()
        self._count = count
        self._clock = clock

    async def deliver(self, name: str, headers: Headers, body: bytes, peer: str) -> HookAnswer:
        """Check a delivery and do what it asks for.

        Raises NotFoundError (no such hook, or no such model on this node), UnauthorizedError, ExpiredError,
        RateLimitError, UsageError (it can't be understood), ConflictError, UnavailableError.
        """
        hook = self._configs.get(name)
        if hook is None:
            raise NotFoundError("the hook", "this node has none of this name", "see api.hooks")
        try:
            answer = await self._act(name, hook, headers, body, peer)
        except EdgeAgentError as e:
            self._count(name, next((result for kind, result in _RESULT_OF if isinstance(e, kind)), "failed"))
            raise
        self._count(name, answer.state)
        return answer

    async def _act(self, name: str, hook: HookConfig, headers: Headers, body: bytes, peer: str) -> HookAnswer:
        delivery = await self._checked(name, hook, headers, body, peer)
        asked = await asyncio.to_thread(
            pick, hook.style, hook.model_template, hook.version_template, hook.conditions, body
        )
        if not asked:
            return HookAnswer(hook=name, state="ignored")
        versions = [AskedVersion(model=a.model, version=a.version) for a in asked]
        if not self._seen.add(name, delivery.key):
            return HookAnswer(hook=name, state="duplicate", asked=versions)
        try:
            for one in asked:
                await self._ask(name, hook, one)
        except BaseException:
            self._seen.remove(name, delivery.key)  # it may be sent again
            raise
        await self._seen.save()
        _log.info("hook.accepted", hook=name, peer=peer, asked=[f"{a.model}/{a.version}" for a in asked])
        return HookAnswer(hook=name, state="accepted", asked=versions)

    async def _checked(
        self, name: str, hook: HookConfig, headers: Headers, body: bytes, peer: str
    ) -> Delivery:
        try:
            secret = await asyncio.to_thread(read_secret, hook.secret_file)  # a new one counts at once
            check_secret(hook.style, secret)
        except EdgeAgentError as e:
            _log.error("hook.secret_unusable", hook=name, why=str(e))
            raise UnavailableError("the hook", "its secret can't be used", "see the node's log") from e
        now = self._clock()
        try:
            return check_delivery(
                hook.style, secret, headers, body, now=now, tolerance_s=hook.tolerance_seconds
            )
        except UnauthorizedError as e:
            # Right signatures always get through: who shares an address with an attacker isn't locked out.
            if self._refusals.exceeded(peer, now):
                raise RateLimitError(
                    "the delivery", "too many wrong signatures from this address", "wait a minute"
                ) from e
            _log.warning("hook.refused", hook=name, peer=peer, why=e.why)
            raise

    async def _ask(self, name: str, hook: HookConfig, asked: Asked) -> None:
        by = f"hook {name}"
        if hook.scope == "node":
            await self._node.promote(asked.model, asked.version, by, f"{hook.style} webhook")
            return
        try:
            async with asyncio.timeout(TURN_S):
                await self._turn.acquire()  # one after the other, as they came
        except TimeoutError as e:
            raise UnavailableError(
                "the delivery", "those before it are still being written", "send it again"
            ) from e
        try:
            await self._node.write_intent(asked.model, asked.version, by, f"{hook.style} webhook")
        finally:
            self._turn.release()


class _SeenDeliveries:
    """The keys of the last deliveries that were accepted, by hook; the oldest go first.

    Only what was accepted counts: who doesn't know the secret can't push anything out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, dict[str, None]] = {}
        self._lock = asyncio.Lock()
        try:
            for hook, keys in json.loads(path.read_bytes()).items():
                self._keys[str(hook)] = dict.fromkeys(str(key) for key in keys[-SEEN_PER_HOOK:])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError, TypeError) as e:
            _log.warning("hook.memory_unreadable", path=str(path), why=str(e))

    def add(self, hook: str, key: str) -> bool:
        """Whether it is new."""
        keys = self._keys.setdefault(hook, {})
        if key in keys:
            return False
        keys[key] = None
        while len(keys) > SEEN_PER_HOOK:
            del keys[next(iter(keys))]
        return True

    def remove(self, hook: str, key: str) -> None:
        """It was not accepted after all."""
        self._keys.get(hook, {}).pop(key, None)

    async def save(self) -> None:
        """Make it outlive a restart. Where that fails, a delivery may be accepted again after one."""
        async with self._lock:
            data = json.dumps({hook: list(keys) for hook, keys in self._keys.items()}).encode()
            try:
                await asyncio.to_thread(write_durably, self._path, data)
            except OSError as e:
                _log.warning("hook.memory_unwritable", path=str(self._path), why=str(e))


class _Refusals:
    """Counts who was refused, so that a stream of wrong signatures neither fills the log nor gets on by trying."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, int]] = {}

    def exceeded(self, peer: str, now: float) -> bool:
        """Count one more; whether there are too many in a minute."""
        since, count = self._counts.pop(peer, (now, 0))
        if not 0 <= now - since < REFUSALS_S:
            since, count = now, 0
        self._counts[peer] = (since, count + 1)
        while len(self._counts) > MAX_PEERS:
            del self._counts[next(iter(self._counts))]
        return count >= REFUSALS
