# SPDX-License-Identifier: AGPL-3.0-or-later
"""The settings that decisions follow, from the configuration."""

from __future__ import annotations

from edgeagent.config.schema import Config
from edgeagent.core.policy import EntryTerms, PairRules, Policy


def policy_of(config: Config) -> Policy:
    """For each model of the node."""
    update = config.update
    on_breach = {"shadow": update.shadow.on_breach, "probation": update.probation.on_breach}
    return Policy(
        probation_s=update.probation.seconds,
        probation_longest=update.probation.longest,
        past_s=2 * update.judge.past.blocks * update.judge.past.block_seconds,
        entry=EntryTerms(
            update.shadow.seconds, update.shadow.frames, update.switch.approval, update.switch.at
        ),
        pairs=PairRules(
            update.shadow.needs_evidence,
            frozenset(watch for watch, what in on_breach.items() if what == "report"),
        ),
        switch_max_wait_s=update.switch.max_wait_seconds,
        has_windows=bool(update.switch.windows),
        retry_max_s=update.retry_seconds,
        settle_after_s=update.settle_seconds,
        store_check_max_s=update.retry_seconds,
        leave_failing=update.sentinel.roll_back,
        stop_start=update.mode == "stop-start",
        # A worker that hangs each time fails as seldom as that.
        failure_window_s=max(Policy.failure_window_s, 2 * config.engine.hang_seconds),
    )
