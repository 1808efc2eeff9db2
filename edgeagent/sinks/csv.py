# SPDX-License-Identifier: AGPL-3.0-or-later
"""A row for each detection, in files of a day each, for spreadsheets."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgeagent.sinks.port import Record, SinkConfig, SinkError, SinkType
from edgeagent.util.rotating import NotWrittenError, RotatingFile
from edgeagent.util.settings import Megabytes
from edgeagent.util.writable import check_writable

COLUMNS = (
    "time", "pipeline", "seq", "model", "version", "epoch", "latency_ms",
    "class", "name", "confidence", "x1", "y1", "x2", "y2",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""With what a text begins that a spreadsheet computes: no name is to run, such as `=HYPERLINK(…)`."""
_RETRY_S = 1.0
_UNLIMITED = 1 << 62


class CsvSinkConfig(SinkConfig):
    """One row a detection. path: line-1.csv makes line-1-20261128.csv, and …-2.csv when that has `max_mb`.

    keep_days, total_mb: how old the files may be, and how large all of them together; the oldest go first. delimiter:
    between two fields. bom: a mark at the beginning, by which Excel sees that it is UTF-8.
    """

    type: Literal["csv"] = "csv"
    lossless: bool = True
    path: Path
    max_mb: Megabytes = 50
    total_mb: Megabytes = 1000
    keep_days: int = Field(default=90, ge=1, le=36_500)
    delimiter: Literal[",", ";", "\t"] = ","
    bom: bool = False


class CsvSink:
    """Appends to the file of the day (UTC) in which the frame was captured; whole rows only, whatever the disk does."""

    def __init__(self, config: CsvSinkConfig, clock: Callable[[], float] = time.time) -> None:
        """clock: Unix seconds, for how old a file is."""
        self._clock = clock
        self.name = str(config.path)
        self._config = config
        self._day, self._part = "", 1
        self._file: RotatingFile | None = None
        self._size = 0
        self._retry_at = 0.0
        self._why = ""

    def write(self, batch: Sequence[Record]) -> None:
        """Append a row for each detection. Raises SinkError; tries the disk again a second after it refused."""
        if time.monotonic() < self._retry_at:
            raise SinkError(self._why, len(batch))
        written = 0
        try:
            for day, records in groupby(batch, lambda record: _day(record.ts)):
                written += self._append(day, list(records))
        except OSError as e:
            written += e.written if isinstance(e, NotWrittenError) else 0
            self._why = e.strerror or str(e)
            self._retry_at = time.monotonic() + _RETRY_S
            self.close()
            raise SinkError(self._why, len(batch) - written) from e

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        if self._file:
            self._file.close()
        self._file, self._day = None, ""

    def _append(self, day: str, records: Sequence[Record]) -> int:
        """Returns how many are written. Raises NotWrittenError, with the number of records."""
        rows = [list(self._rows(record)) for record in records]
        data = [row for of_record in rows for row in of_record]
        if not data:
            return len(records)
        file, header = self._file_for(day, sum(map(len, data)))
        try:
            file.append([*header, *data])
        except NotWrittenError as e:
            left = e.written - len(header)
            whole = 0
            while whole < len(rows) and left >= len(rows[whole]):
                left -= len(rows[whole])
                whole += 1
            raise NotWrittenError(e, whole) from e
        self._size += sum(map(len, [*header, *data]))
        return len(records)

    def _file_for(self, day: str, size: int) -> tuple[RotatingFile, list[bytes]]:
        """Where so many bytes of that day go, and the header that has to come before them."""
        limit = self._config.max_mb * 1_000_000
        path = self._path(day, self._part)
        if self._file is None or day != self._day:
            self.close()
            self._config.path.absolute().parent.mkdir(parents=True, exist_ok=True)
            self._part = max((part for of_day, part, _ in self._files() if of_day == day), default=1)
        elif not path.exists():  # somebody has moved it
            self._size = 0
        if self._file is None:
            self._day, path = day, self._path(day, self._part)
            self._size = path.stat().st_size if path.exists() else 0
        if self._size and self._size + size > limit:
            self._part, self._size = self._part + 1, 0
            self._file = None
        if self._file is None:
            path = self._path(day, self._part)
            self._remove_old(path)
            self._file = RotatingFile(path, _UNLIMITED, 0)
        return self._file, [] if self._size else [self._header()]

    def _header(self) -> bytes:
        mark = "\ufeff" if self._config.bom else ""
        return mark.encode() + self._line(COLUMNS)

    def _rows(self, record: Record) -> Iterator[bytes]:
        when = _when(record).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        pipeline, model, version = map(_text, (record.pipeline, record.model, record.version))
        of_frame = [when, pipeline, record.seq, model, version, record.epoch, record.latency_ms]
        for found in record.as_dict()["detections"] if record.boxes else ():
            yield self._line([*of_frame, found["cls"], _text(found["name"]), found["conf"], *found["xyxy"]])

    def _line(self, fields: Sequence[object]) -> bytes:
        out = io.StringIO()
        csv.writer(out, delimiter=self._config.delimiter, lineterminator="\n").writerow(fields)
        return out.getvalue().encode("utf-8", "replace")

    def _path(self, day: str, part: int) -> Path:
        path = self._config.path
        return path.with_name(f"{path.stem}-{day}{f'-{part}' if part > 1 else ''}{path.suffix}")

    def _files(self) -> list[tuple[str, int, Path]]:
        """Those that there are, the oldest first: day, part, path."""
        path = self._config.path
        name = re.compile(
            rf"{re.escape(path.stem)}-(\d{{8}})(?:-(\d{{1,6}}))?{re.escape(path.suffix)}", re.ASCII
        )
        found = ((name.fullmatch(file.name), file) for file in path.absolute().parent.iterdir())
        return sorted((m[1], int(m[2] or 1), file) for m, file in found if m)

    def _remove_old(self, current: Path) -> None:
        """So that the others, and as much as the current file may get, are within the quota."""
        c = self._config
        oldest_day = _day(self._clock() - 86_400 * c.keep_days)
        others = [(day, file) for day, _, file in self._files() if file.name != current.name]
        sizes = {file: file.stat().st_size for _, file in others}
        too_much = sum(sizes.values()) + (c.max_mb - c.total_mb) * 1_000_000
        for day, file in others:
            if day < oldest_day or too_much > 0:
                file.unlink(missing_ok=True)
                too_much -= sizes[file]


def _day(ts: float) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime("%Y%m%d")


def _when(record: Record) -> datetime:
    return datetime.fromtimestamp(record.ts, UTC)


def _text(text: str) -> str:
    """One line, and none that a spreadsheet takes for a formula."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


SINK = SinkType(
    CsvSinkConfig,
    open=lambda config: CsvSink(config),
    try_out=lambda config: check_writable(config.path.absolute().parent),
)
