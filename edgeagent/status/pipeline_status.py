# SPDX-License-Identifier: AGPL-3.0-or-later
"""One pipeline's part of `/api/status`: a view on its camera, its figures and its sinks."""

from __future__ import annotations

from edgeagent.serving.pipeline import Pipeline
from edgeagent.status.schema import LatencyStatus, PipelineStatus, SinksStatus


def pipeline_status(pipeline: Pipeline) -> PipelineStatus:
    """How its source is, what became of its frames, and how far its sinks are."""
    capture = pipeline.capture
    p50, p99 = (q and round(q * 1000, 2) for q in pipeline.latency_quantiles(0.50, 0.99))
    return PipelineStatus(
        state=capture.state,
        why=capture.why,
        since=capture.since,
        last_error=capture.last_error,
        model=pipeline.config.model,
        live=capture.live,
        width=capture.width,
        height=capture.height,
        pid=capture.pid,
        restarts=capture.restarts,
        fps=round(capture.fps, 2),
        captured=capture.captured,
        frames=pipeline.results,
        dropped=sum(pipeline.dropped.values()),
        dropped_by=pipeline.dropped,
        latency_ms=LatencyStatus(p50=p50, p99=p99),
        sinks=SinksStatus(**pipeline.sinks.status()),
    )
