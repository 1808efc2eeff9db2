# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sentinel's golden watch: now and then the golden pictures go through the engine that serves, and what it finds is
held against what the same version found when it had just proved itself here.

It notices a machine whose results drift: memory, driver, a runtime that was upgraded. The first replay comes a minute
after a version is stable, so that there is something to compare with; a second one, when they differ, makes sure.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import structlog

from edgeagent.config import Config
from edgeagent.core.boxes import Box
from edgeagent.core.events import AppendAudit, RollbackRequested
from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import Stage
from edgeagent.core.sentinel import DriftLimits, SentinelState, judge, spread
from edgeagent.core.text import clean
from edgeagent.core.tuning import Tolerance
from edgeagent.datasets.layout import layout_of
from edgeagent.errors import ConflictError, UnavailableError, UsageError, WorkerError
from edgeagent.gates.parity import compare
from edgeagent.update.golden_replay import Boxes, GoldenReplay, link_pictures
from edgeagent.update.updater import Updater
from edgeagent.util.durable import write_durably

SETTLE_S = 60.0
"""From when a version is stable until its first replay."""
LOOK_S = 1.0
RETRY_S = 600.0
"""Until a replay that didn't come about is tried again."""
MAX_KEPT = 8
"""First replays of a model: of so many contents, forms and sets, so that a roll-back finds its own again."""
_HOUR = 3600.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SentinelSettings:
    """folder: where first replays are kept; hours: between two; roll_back: on drift, rather than only to say so; site:
    the golden pictures of this site, which go before those of a version."""

    folder: Path
    hours: float
    limits: DriftLimits
    roll_back: bool
    site: Path | None


class GoldenSentinel:
    """Of one model. On the event loop's thread; files are read and written in others."""

    def __init__(
        self,
        updater: Updater,
        settings: SentinelSettings,
        record: Callable[[str, AppendAudit], None],
        told: Callable[[str, float], None],
    ) -> None:
        """record: into the audit log. told: the model, and the share of its pictures that differ, after each replay."""
        self.state = SentinelState()
        self._updater = updater
        self.settings = settings
        self._record = record
        self._told = told
        self._model = updater.state.model
        self._key = ""  # of what was replayed last, and whether it drifted then
        self._drifting = False
        self._due = 0.0

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look(time.monotonic())

    async def look(self, now: float) -> None:
        """Replay, if it is time for it."""
        key = self._serving()
        if not key:
            return
        if key != self._key:
            self._key, self._drifting = key, False
            self._due = now + min(SETTLE_S, self.settings.hours * _HOUR)
            self.state = SentinelState()
        if now < self._due:
            return
        pause_s = self.settings.hours * _HOUR
        self._due = now + min(
            pause_s, RETRY_S
        )  # whatever happens, the line isn't shown pictures all the time
        try:
            await self._replay()
        except (UsageError, UnavailableError, WorkerError, OSError) as e:
            self.state = replace(self.state, why=clean(str(e)))
            # What the engine died of is not shown to it again soon.
            pause_s = pause_s if isinstance(e, WorkerError) else min(pause_s, RETRY_S)
            _log.warning("sentinel.not_replayed", model=self._model, why=str(e))
        self._due = now + pause_s

    def _serving(self) -> str:
        """What serves, and in which form; "" while that is not settled."""
        u, engine = self._updater, self._updater.slot.engine
        is_calm = u.state.stage is Stage.STABLE and u.state.candidate is None and not u.preparations
        if engine is None or not engine.ready or not is_calm:
            return ""
        return f"{engine.ref.digest} {engine.artifact.imgsz}"

    async def _replay(self) -> None:
        pictures = await asyncio.to_thread(self._pictures)
        if not pictures:
            return
        routes, settings = self._updater.router.routes, self._updater.router.settings
        confidence = min((route.confidence for route in routes), default=0.25)
        iou = min((route.limits(settings)[1] for route in routes), default=0.45)
        set_key = f"{self._key} {confidence} {iou} {_identity(pictures)}"
        first = await asyncio.to_thread(self._first, set_key)
        seen = await self._see(pictures, confidence, iou)
        now = time.time()
        if not seen:
            raise UnavailableError("golden pictures", "none of them could be read")
        if first is None:
            await asyncio.to_thread(self._keep, set_key, now, seen)
            self.state = SentinelState(now, now)
            self._told(self._model, 0.0)
            return
        first_at, boxes = first
        found = self._judge(boxes, seen, confidence)
        if not found.passed:
            found = self._judge(boxes, await self._see(pictures, confidence, iou), confidence)
        if self._serving() != self._key:
            raise UnavailableError("golden pictures", "another version serves by now, or is to come")
        self._found(found, first_at, time.time())

    async def _see(self, pictures: Sequence[Path], confidence: float, iou: float) -> Boxes:
        folder = self._folder / "pictures"
        await asyncio.to_thread(link_pictures, pictures, folder)
        replay = GoldenReplay(self._updater.slot, self._updater.router, self._updater.forget_ring)
        return await replay.run(folder, len(pictures), confidence / 2, iou)

    def _judge(self, first: Boxes, now: Boxes, confidence: float) -> GateResult:
        both = sorted(first.keys() & now.keys())
        limits = self.settings.limits
        parity = compare([first[n] for n in both], [now[n] for n in both], confidence, limits.tolerance)
        return judge(parity, len(first.keys() - now.keys()), limits)

    def _found(self, found: GateResult, first_at: float, at: float) -> None:
        why = found.reasons[0] if found.reasons else ""
        self.state = SentinelState(at, first_at, found, why)
        figures = self.state.figures
        self._told(self._model, figures["differing"] / figures["pictures"])
        if bool(why) == self._drifting:
            return
        self._drifting = bool(why)
        active = self._updater.state.active
        assert active is not None
        result = "drifted" if why else "agrees"
        record = AppendAudit(
            "sentinel", result, "edgeagent", "", active.version, active.digest, why, gates=(found,)
        )
        self._record(self._model, record)
        if why and self.settings.roll_back:
            try:
                self._updater.handle(RollbackRequested("edgeagent", f"sentinel: {why}"))
            except ConflictError as e:
                _log.warning("sentinel.no_roll_back", model=self._model, why=str(e))

    # -- files, in threads -----------------------------------------------------------------------------

    def _pictures(self) -> list[Path]:
        site = self.settings.site
        engine = self._updater.slot.engine
        found: Sequence[Path] = engine.artifact.version.golden if engine else ()
        if site:
            found = [picture.path for picture in layout_of(site).pictures]
        return [found[i] for i in spread(len(found))]

    @property
    def _folder(self) -> Path:
        return self.settings.folder / self._model

    def _path(self, key: str) -> Path:
        return self._folder / f"{sha256(key.encode()).hexdigest()[:16]}.json"

    def _first(self, key: str) -> tuple[float, Boxes] | None:
        """The first replay of what serves, on these pictures: when, and what was found; None when there is none."""
        try:
            doc = json.loads(self._path(key).read_bytes())
            if doc["key"] != key:
                return None
            return float(doc["at"]), {int(n): tuple(map(_box, found)) for n, found in doc["boxes"].items()}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            _log.warning("sentinel.first_replay_unreadable", path=str(self._path(key)), why=str(e))
            return None

    def _keep(self, key: str, at: float, boxes: Boxes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_durably(self._path(key), json.dumps({"key": key, "at": at, "boxes": boxes}).encode())
        kept = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for oldest in kept[:-MAX_KEPT]:
            oldest.unlink()


def _identity(pictures: Sequence[Path]) -> str:
    """Of a set of pictures: another as soon as one of them is."""
    stats = ((p.name, stat.st_size, stat.st_mtime_ns) for p in pictures for stat in (p.stat(),))
    return sha256(repr(list(stats)).encode()).hexdigest()[:16]


def _box(values: Sequence[float]) -> Box:
    x1, y1, x2, y2, score, cls = values
    return float(x1), float(y1), float(x2), float(y2), float(score), int(cls)


def sentinel_of(
    config: Config,
    updater: Updater,
    record: Callable[[str, AppendAudit], None],
    told: Callable[[str, float], None],
) -> GoldenSentinel | None:
    """That of a model, as the configuration says; None where it says that there is none."""
    asked = config.update.sentinel
    if not asked.golden_hours:
        return None
    parity = config.engine.parity
    settings = SentinelSettings(
        folder=config.node.state_dir / "sentinel",
        hours=asked.golden_hours,
        limits=DriftLimits(Tolerance(parity.iou, parity.score), asked.golden_differing),
        roll_back=asked.on_breach == "rollback",
        site=config.update.golden.get(updater.state.model),
    )
    return GoldenSentinel(updater, settings, record, told)
