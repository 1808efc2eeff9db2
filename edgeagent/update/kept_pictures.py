# SPDX-License-Identifier: AGPL-3.0-or-later
"""All pictures that a node keeps: recent frames for the gate `replay`, and disagreements of versions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgeagent.config.schema import UpdateConfig
from edgeagent.config.verdict import DisagreementsConfig, RecentFramesConfig
from edgeagent.core.pictures import PictureQuota
from edgeagent.serving.tap import Tap
from edgeagent.update.disagreements import ComparedVersion, Disagreements, DisagreementSettings
from edgeagent.update.pair_pictures import PairPictures
from edgeagent.update.picture_writer import PictureWriter
from edgeagent.update.stored_frames import StoredFrames
from edgeagent.update.updater import Updater
from edgeagent.workers.tasks.pictures import ArchiveAccess

_ANY_NUMBER = 1_000_000


class KeptPictures:
    """Two archives below the state folder, `replay` and `disagreements`, and the one worker that writes into them. What
    isn't to be kept any more is removed. On the event loop's thread."""

    def __init__(self, config: UpdateConfig, state_dir: Path) -> None:
        self._recent, self._differ = config.recent_frames, config.disagreements
        self.replay_root, self.disagreements_root = state_dir / "replay", state_dir / "disagreements"
        self.writer = PictureWriter(
            (
                ArchiveAccess(self.replay_root, _quota(self._recent, self._recent.keep)),
                ArchiveAccess(self.disagreements_root, _quota(self._differ, self._differ.frames > 0)),
            )
        )

    def start(self) -> None:
        """Look after what lies there from now on. To be called once, when what is urgent has been started."""
        self.writer.start()

    async def close(self) -> None:
        """Return when the worker is gone."""
        await self.writer.close()

    def follow(self, tap: Tap) -> None:
        """Keep frames of a model's pipelines, if that is wanted."""
        if self._recent.keep:
            StoredFrames(
                tap, self.writer, self.replay_root, self._recent.every_seconds, self._recent.jpeg_quality
            )

    def replay_folders(self, pipelines: list[str]) -> tuple[Path, ...]:
        """Where recent frames of these pipelines are; empty when none are kept."""
        return tuple(self.replay_root / name for name in pipelines) if self._recent.keep else ()

    def follow_pairs(self, updater: Updater) -> None:
        """Keep the frames on which two versions of a model differ most, if that is wanted."""
        if self._differ.frames:
            folder_of = partial(self.disagreements, updater.state.model)
            updater.judge.on_pair = PairPictures(
                lambda: updater.state, updater.judge.names_of, folder_of
            ).offer

    def disagreements(
        self, model: str, incumbent: ComparedVersion, candidate: ComparedVersion
    ) -> Disagreements | None:
        """Where frames of a candidate can be offered; None when none are to be kept."""
        c = self._differ
        if not c.frames:
            return None
        settings = DisagreementSettings(c.frames, c.apart_seconds, c.jpeg_quality)
        folder = f"{model}/{candidate.version}"
        return Disagreements(self.writer, self.disagreements_root, folder, incumbent, candidate, settings)


def _quota(config: RecentFramesConfig | DisagreementsConfig, kept: bool) -> PictureQuota:
    """Where none is kept any more, those that are there have to go."""
    pictures = _ANY_NUMBER if kept else 0
    return PictureQuota(config.max_bytes, config.max_age_seconds, pictures, config.min_free_bytes)
