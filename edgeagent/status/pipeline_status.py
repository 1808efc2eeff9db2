# SPDX-License-Identifier: AGPL-3.0-or-later
"""One pipeline's part of `/api/status`: a view on its camera, its figures and its sinks."""

from __future__ import annotations

from edgeagent.serving.pipeline import Pipeline
from edgeagent.status.schema import LatencyStatus, PipelineStatus, SinksStatus


def pipeline_status(pipeline: Pipeline) -> PipelineStatus:
    """How its source is, what became of its frames, and how far its sinks are."""
    capture, source = pipeline.capture, pipeline.capture.source
    p50, p99 = (q and round(q * 1000, 2) for q in pipeline.latency_quantiles(0.50, 0.99))
    return PipelineStatus(
        state=source.state,
        why=source.why,
        since=source.since,
        last_error=source.last_error,
        model=pipeline.config.model,
        live=capture.live,
        width=source.width,
        height=source.height,
        pid=capture.pid,
        restarts=source.restarts,
        fps=round(source.fps, 2),
        captured=source.captured,
        frames=pipeline.results,
        dropped=sum(pipeline.dropped.values()),
        dropped_by=pipeline.dropped,
        latency_ms=LatencyStatus(p50=p50, p99=p99),
        sinks=SinksStatus(**pipeline.sinks.status()),
    )
