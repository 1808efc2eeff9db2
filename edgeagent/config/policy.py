# SPDX-License-Identifier: AGPL-3.0-or-later
"""The settings that decisions follow, from the configuration."""

from __future__ import annotations

from edgeagent.config.schema import Config
from edgeagent.core.policy import EntryTerms, Policy


def policy_of(config: Config) -> Policy:
    """For each model of the node."""
    update = config.update
    return Policy(
        probation_s=update.probation.seconds,
        probation_longest=update.probation.longest,
        past_s=2 * update.judge.past.blocks * update.judge.past.block_seconds,
        entry=EntryTerms(
            update.shadow.seconds, update.shadow.frames, update.switch.approval, update.switch.at
        ),
        shadow_needs_evidence=update.shadow.needs_evidence,
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
