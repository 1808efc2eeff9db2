# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sources of intent: reached, readable and writable with the user that is given, with keys that say something."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import cast

from edgeagent.cli.doctor import etcd_address
from edgeagent.cli.doctor.examination import Examination
from edgeagent.cli.doctor.finding import FAIL, OK, WARN, Finding, failure
from edgeagent.config import IntentSourceConfig
from edgeagent.core.directive import Directive, current_key, decode_directive, pin_key
from edgeagent.core.fleet_report import report_key
from edgeagent.core.rollout import COORDINATOR_KEY, rollout_key
from edgeagent.core.rollout_document import decode_rollout
from edgeagent.errors import EdgeAgentError, UsageError
from edgeagent.fleet.presence import presence_key
from edgeagent.intent.port import Advising, Entry, Expected, IntentSource, KeyValueStore
from edgeagent.intent.url import Adapter, find_adapter, open_source, parse_source_url
from edgeagent.intent.watching import read_once

TIMEOUT_S = 20.0
_NEVER = str(2**62)  # a revision that no key has: what a transaction demands that is to write nothing


def sources(x: Examination) -> Iterator[Finding]:
    """Each of them; what they aspire goes into `x.intents`, of the first that has it."""
    config = x.config
    yield from _source(x, config.config_store, "config store")
    for settings in config.intent_sources:
        yield from _source(x, settings, f"source {settings.url}")
    for model in x.models:
        if config.intent_sources and model not in x.intents:
            yield Finding(WARN, f"intent, {model}", "no source has one", f"write {current_key(model)} to one")


def _source(x: Examination, settings: IntentSourceConfig, name: str) -> Iterator[Finding]:
    try:
        adapter, source = find_adapter(settings.url), open_source(settings.url, settings.access())
    except EdgeAgentError as e:
        yield failure(name, e)
        return
    in_fleet = settings is x.config.config_store and adapter.leases
    with closing(source):
        try:
            entries, warning = read_once(source, _keys(x, in_fleet), TIMEOUT_S)
        except EdgeAgentError as e:
            yield _not_read(x, settings, adapter, source, failure(name, e), in_fleet)
            return
        if in_fleet:
            x.presence = entries[presence_key(x.config.node.id)].value
        for model in x.models:
            yield _model(x, model, entries, f"{name}, {model}", in_fleet)
        if not x.models:
            yield Finding(OK, name, "reached")
        if warning:
            text, _, todo = warning.partition("; ")
            yield Finding(WARN, name, text, todo)
        if in_fleet and adapter.scheme == "etcd":
            yield from _writing(x, cast(KeyValueStore, source), name)
        if adapter.scheme == "etcd":
            yield from _ports(settings, name)
        with suppress(EdgeAgentError):  # one that can't be reached was said already
            if isinstance(source, Advising) and (text := source.advice()):
                text, _, todo = text.partition(". ")
                yield Finding(WARN, name, text, todo)


def _keys(x: Examination, in_fleet: bool) -> list[str]:
    """Whatever the node reads."""
    node = x.config.node.id
    keys = [key for model in x.models for key in (pin_key(model, node), current_key(model))]
    if in_fleet:
        keys += [*(rollout_key(model) for model in x.models), COORDINATOR_KEY, presence_key(node)]
    return keys or [COORDINATOR_KEY]


def _model(
    x: Examination, model: str, entries: Mapping[str, Entry], subject: str, has_rollouts: bool
) -> Finding:
    """What the node would follow."""
    try:
        intent = _intent(x, model, entries, has_rollouts)
    except EdgeAgentError as e:
        return failure(subject, e)
    if intent is not None:
        x.intents.setdefault(model, intent)
        verb = "preloads" if intent.preload else "aspires"
        return Finding(OK, subject, f"{verb} {intent.version} ({intent.intent_id})")
    if x.config.intent_sources:
        return Finding(OK, subject, "reached; it has no intent for this model")
    return Finding(
        WARN,
        subject,
        "reached, but no version is aspired",
        f"write {current_key(model)} (edgeagent promote {model} VERSION)",
    )


def _intent(x: Examination, model: str, entries: Mapping[str, Entry], has_rollouts: bool) -> Directive | None:
    """But for a roll-out, which it has to be able to read; else what it would preload."""
    rollout = rollout_key(model)
    if has_rollouts and (document := entries[rollout].value) is not None:
        decode_rollout(rollout, document)
    ahead = None
    for key in (pin_key(model, x.config.node.id), current_key(model)):
        value = entries[key].value
        if value is not None:
            directive = decode_directive(key, value, entries[key].revision)
            if not directive.preload:
                return directive
            ahead = ahead or directive
    return ahead


def _not_read(
    x: Examination,
    settings: IntentSourceConfig,
    adapter: Adapter,
    source: IntentSource,
    found: Finding,
    in_fleet: bool,
) -> Finding:
    """With what lies behind it, where that can be found out."""
    if adapter.scheme != "etcd":
        return found
    if "permission denied" in found.text:
        store = cast(KeyValueStore, source)
        refused = [key for key in _keys(x, in_fleet) if _is_refused(partial(store.get, key))]
        return replace(found, text=f"{found.text} (reading {', '.join(refused)})") if refused else found
    why = etcd_address.why_not(parse_source_url(settings.url).endpoints, settings.tls is not None)
    if why and not ("authentication" in found.text or "user name" in found.text):
        return replace(found, text=why[0], todo=why[1])
    return found


def _writing(x: Examination, store: KeyValueStore, name: str) -> Iterator[Finding]:
    """Whether the node may write its own keys: asked by transactions that write nothing."""
    node = x.config.node.id
    keys = [presence_key(node), *(report_key(node, model) for model in x.models)]
    refused = [
        key
        for key in keys
        if _is_refused(partial(store.compare_and_set, [Expected(key, _NEVER)], {key: b""}))
    ]
    if refused:
        yield Finding(
            FAIL,
            name,
            f"its user may not write {', '.join(refused)}: the fleet doesn't see this node",
            "give its role the right (deploy/etcd/roles.sh)",
        )


def _ports(settings: IntentSourceConfig, name: str) -> Iterator[Finding]:
    """Of a store that is reached."""
    for endpoint in parse_source_url(settings.url).endpoints:
        if etcd_address.is_for_peers(endpoint, settings.tls is not None):
            text = f"{endpoint} is the port by which etcd servers talk to each other"
            yield Finding(WARN, name, text, f"use the one for clients; {etcd_address.CLIENTS}")


def _is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except UsageError:
        return True
    except EdgeAgentError:
        return False
    return False
