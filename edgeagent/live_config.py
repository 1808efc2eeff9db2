# SPDX-License-Identifier: AGPL-3.0-or-later
"""The configuration that is in force on a running node: how another one takes its place, and what came of that."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from edgeagent.config import Config, ConfigError, load_config
from edgeagent.config.changes import Changes, changes_between
from edgeagent.config.document import Document, overriding, read_document, write_document
from edgeagent.config.edits import Edit
from edgeagent.config.shown import shown
from edgeagent.core.events import AppendAudit
from edgeagent.core.text import MAX_TEXT, cut
from edgeagent.errors import ConflictError, EdgeAgentError, ForbiddenError, UnavailableError, UsageError
from edgeagent.lines import NodeLines
from edgeagent.observe.bus import Bus, ConfigChanged
from edgeagent.observe.logs import setup_logging
from edgeagent.status.config_status import ConfigChange, ConfigStatus, ConfigView

_log = structlog.get_logger(__name__)

_NO_FILE = "this node was started without a configuration file"
_NOT_ALLOWED = "the configuration can't be changed through the API"


class LiveConfig:
    """One change at a time, in the order in which they are asked for. On the event loop; files are read and written in
    threads.

    A configuration with mistakes changes nothing. What can't be changed without a restart stays as it is, and is said.
    """

    def __init__(
        self,
        path: Path | None,
        lines: NodeLines,
        record: Callable[[str, AppendAudit], None],
        bus: Bus,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """path: of the configuration file; None where there is none. record: into the audit log. environ: variables
        that say fields otherwise than the file; None: those of the process."""
        self.path = path
        self._lines = lines
        self._record = record
        self._bus = bus
        self._environ = os.environ if environ is None else environ
        self._lock = asyncio.Lock()
        self._started = asyncio.Event()
        self._users: list[Callable[[Config], None]] = []
        self._loaded = time.time()
        self._last = Changes(lines.config)
        self._error = ""

    @property
    def config(self) -> Config:
        """What is in force."""
        return self._lines.config

    def follow(self, user: Callable[[Config], None]) -> None:
        """Tell of each configuration that is in force from now on."""
        self._users.append(user)

    def status(self) -> ConfigStatus:
        """What there is to say of it."""
        return ConfigStatus(
            path=str(self.path) if self.path else None,
            loaded=self._loaded,
            changed=list(self._last.said),
            needs_restart=list(self._last.restart),
            error=self._error or None,
        )

    def start(self) -> None:
        """The lines run: from now on they can be changed. Who asked before that waits no longer."""
        self._started.set()

    async def close(self, timeout_s: float) -> None:
        """Return when no change is under way any more; none begins after that. timeout_s: seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._lock.acquire(), timeout_s)

    # -- from the file -------------------------------------------------------------------------------

    async def reload(self, by: str) -> None:
        """Take over what the file says now. Raises EdgeAgentError when it has mistakes; then nothing has changed."""
        await self._started.wait()
        async with self._lock:
            if self.path is None:
                return
            try:
                config = await asyncio.to_thread(load_config, self.path, self._environ)
                if not config.pipelines:
                    self._check_not_empty(await asyncio.to_thread(read_document, self.path))
                changes = changes_between(self.config, config)
                self._lines.check(changes)
            except EdgeAgentError as e:
                self._error = str(e)
                _log.error("config.refused", note="the old one stays", why=str(e))
                raise
            await self._take_over(changes, by)

    # -- through the API -----------------------------------------------------------------------------

    async def view(self) -> ConfigView:
        """What the file says, without secrets; where it can't be read, what is in force. See `ConfigView`."""
        config, revision, error = self.config, "", ""
        if self.path:
            try:
                document = await asyncio.to_thread(read_document, self.path)
                revision = document.revision
                config = await asyncio.to_thread(document.config, document.doc, self._environ)
            except EdgeAgentError as e:
                error = str(e)
        return ConfigView(
            revision=revision,
            path=str(self.path) if self.path else None,
            config=shown(config.model_dump(mode="json")),
            classes=self._lines.classes,
            may_change=self.config.api.allows_changes and self.path is not None,
            overridden=overriding(self._environ, "pipelines") + overriding(self._environ, "models"),
            error=error or None,
        )

    async def change(self, edit: Edit, if_revision: str | None, by: str) -> ConfigChange:
        """Write this into the file, and take it over, with whatever else the file says by then. Returns when that is
        done.

        Raises ForbiddenError where the API may change nothing; ConflictError when the file has another revision, or
        variables of the environment would say it otherwise; NotFoundError; ConfigError with every mistake;
        UnavailableError when the file can't be written. Nothing has changed then.
        """
        await self._started.wait()
        task = asyncio.create_task(self._change(edit, if_revision, by))
        # Nobody may be left to hear what came of it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)  # whoever asked may go away: half a change is none

    async def _change(self, edit: Edit, if_revision: str | None, by: str) -> ConfigChange:
        async with self._lock:
            path = self._changeable()
            document = await asyncio.to_thread(read_document, path)
            self._check_revision(document, if_revision)
            if variables := overriding(self._environ, edit.section):
                why = f"variables of the environment say it otherwise than the file: {', '.join(variables)}"
                raise ConflictError(edit.what, why, "change those, and restart the node")
            try:
                doc, config = await asyncio.to_thread(edit.apply, document, self.config, self._environ)
            except RecursionError as e:
                raise UsageError(edit.what, "it is nested too deeply") from e
            changes = changes_between(self.config, config)
            self._lines.check(changes)
            revision = await asyncio.to_thread(write_document, path, doc, by)
            await self._take_over(changes, by)
            return ConfigChange(
                revision=revision, changed=list(changes.said), needs_restart=list(changes.restart)
            )

    def _changeable(self) -> Path:
        api = self.config.api
        if not api.allows_changes:
            off = api.changes.allow is False
            why = (
                "api.changes.allow is false" if off else "it asks for no token: anybody on this machine could"
            )
            todo = "" if off else "set api.token_file, or api.changes.allow: true; or "
            raise ForbiddenError(_NOT_ALLOWED, why, f"{todo}change the file, and send SIGHUP")
        if self.path is None:
            raise UnavailableError("the configuration", _NO_FILE)
        return self.path

    def _check_not_empty(self, document: Document) -> None:
        """A file with nothing in it was cut off by a full disk, or is being written: nobody wants all lines to end."""
        if not document.doc and self.config.pipelines and not overriding(self._environ, "pipelines"):
            why = "is empty, and pipelines run; allowed: pipelines: [] to take them all away"
            raise ConfigError(str(document.path), [why])

    def _check_revision(self, document: Document, if_revision: str | None) -> None:
        if document.problems:
            raise ConfigError(str(document.path), list(document.problems))
        self._check_not_empty(document)
        if if_revision is not None and if_revision != document.revision:
            why = f"the file is another by now (revision {document.revision}, not {cut(if_revision, 64)})"
            raise ConflictError("the configuration", why, "read it again, and change that")

    async def _take_over(self, changes: Changes, by: str) -> None:
        log = changes.config.log
        if log != self.config.log:  # it waits for the reader of what was logged so far
            setup_logging(log.level, log.format)
        try:
            await self._lines.carry_out(changes)
            for user in self._users:
                user(changes.config)
        except Exception as e:
            # Nobody thought of it: what was done is done, and it is said that it isn't all.
            self._error = f"error in edgeagent while it was taken over: {e!r}; restart the node"
            _log.exception("config.failed", by=by, changed=list(changes.said))
            raise
        self._last, self._loaded, self._error = changes, time.time(), ""
        _log.info("config.changed", by=by, changed=list(changes.said), needs_restart=list(changes.restart))
        if changes.said:
            why = cut("; ".join(changes.said), MAX_TEXT)
            self._record("", AppendAudit("config", "changed", by, why=why))
        self._bus.publish(
            ConfigChanged(
                by,
                changes.said,
                added=tuple(p.name for p in changes.added),
                removed=tuple(p.name for p in changes.removed),
                changed=tuple(c.now.name for c in changes.changed),
            )
        )
