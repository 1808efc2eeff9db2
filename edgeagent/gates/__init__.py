# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a candidate must pass before it may serve: a gate a file, a row each in GATES, in the order in which they run.

Gates of other packages come after these: see `plug_ins`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace

from edgeagent.core.gating import GateResult, GateTerms
from edgeagent.errors import EdgeAgentError, WeightsError
from edgeagent.gates import contract, golden, latency, memory, parity, replay, smoke
from edgeagent.gates.port import Gate, GateContext
from edgeagent.util.codec import to_json

GATES: tuple[Gate, ...] = (
    contract.GATE,
    parity.GATE,
    smoke.GATE,
    memory.GATE,
    golden.GATE,
    latency.GATE,
    replay.GATE,
)

_MAX_WORDS = 100  # of what a gate fails with


def key(terms: GateTerms) -> str:
    """Under which "passed" is remembered: the gates there are, and what each judges by."""
    judged_by = [[gate.name, to_json(gate.inputs(terms))] for gate in GATES]
    text = json.dumps([judged_by, to_json(terms.plug_ins)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_gates(
    gates: Iterable[Gate],
    context: GateContext,
    on_start: Callable[[str], None],
    on_finish: Callable[[GateResult], None],
) -> tuple[GateResult, ...]:
    """What the gates found, in order, up to the first that refuses. Raises EdgeAgentError for what says nothing of
    the weights, such as a disk that fails."""
    results = []
    for gate in gates:
        if not gate.applies(context):
            continue
        on_start(gate.name)
        result = _run(gate, context)
        on_finish(result)
        results.append(result)
        if not result.passed:
            break
    return tuple(results)


def _run(gate: Gate, context: GateContext) -> GateResult:
    """What it found. Whatever else comes of it, for its code may be another's, is no "passed"."""
    try:
        result = gate.run(context)
        if isinstance(result, GateResult):
            return replace(result, name=gate.name)
        reason = f"it answered {result!r:.{_MAX_WORDS}}, which is no GateResult"
    except WeightsError as e:
        reason = str(e)
    except EdgeAgentError:
        raise
    except (Exception, SystemExit) as e:  # noqa: BLE001  (as above)
        reason = f"it failed: {e!r:.{_MAX_WORDS}}"
    return GateResult.judged(gate.name, [reason])
