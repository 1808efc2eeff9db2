// SPDX-License-Identifier: AGPL-3.0-or-later
// The figures of the last minutes, one array for each, in steps of a second. Pure.

export const KEEP_S = 600;
export const NAMES = ["fps", "p50_ms", "p95_ms", "dropped"];

export const emptySeries = () => ({ end: 0, pipelines: {} });

/** What api/series answers, in our form. */
export function fromAnswer(doc) {
  const step = doc.interval_s || 1;
  const pipelines = {};
  Object.entries(doc.pipelines || {}).forEach(([name, columns]) => {
    const first = NAMES.map((n) => (columns[n] || []).findIndex((v) => v !== null)).filter((i) => i >= 0);
    const begin = first.length ? Math.min(...first) : Infinity; // what lies before is unknown
    const length = Math.max(0, ...NAMES.map((n) => (columns[n] || []).length - begin));
    const t = Array.from({ length }, (_, i) => doc.end - (length - 1 - i) * step);
    pipelines[name] = { t };
    NAMES.forEach((n) => {
      const column = columns[n] || [];
      pipelines[name][n] = t.map((_, i) => numberOrNull(column[i - length + column.length]));
    });
  });
  return { end: doc.end || 0, pipelines };
}

/** One second more. Steps that are missing stay a gap: the charts draw no line over them. */
export function addFigures(series, { t, pipelines }) {
  const next = {};
  Object.entries(pipelines).forEach(([name, figures]) => {
    const old = series.pipelines[name];
    const gap = old && old.t.length && t - old.t[old.t.length - 1] > 3;
    if (old && old.t.length && t <= old.t[old.t.length - 1]) {
      next[name] = old;
      return;
    }
    const added = { t: (old ? old.t : []).concat(gap ? [t - 1, t] : [t]) };
    const from = Math.max(0, added.t.findIndex((at) => at > t - KEEP_S));
    NAMES.forEach((n) => {
      const value = numberOrNull((figures || {})[n]);
      added[n] = (old ? old[n] : []).concat(gap ? [null, value] : [value]).slice(from);
    });
    added.t = added.t.slice(from);
    next[name] = added;
  });
  return { end: t, pipelines: next };
}

const numberOrNull = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
