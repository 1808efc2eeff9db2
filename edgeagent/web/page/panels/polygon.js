// SPDX-License-Identifier: AGPL-3.0-or-later
// Polygons of a picture, [[x, y], ...] in fractions of its width and height: what the region editor computes.
// The node judges by core/regions.py; here the same is said at once, while a point is being moved.

export const LEAST = 3;
export const MOST = 64;

/** To four decimals (less than a pixel), inside the picture. */
export const inside = (value) => Math.round(Math.min(1, Math.max(0, value)) * 10000) / 10000;

const side = ([ax, ay], [bx, by], [cx, cy]) => {
  const turn = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
  return Math.abs(turn) < 1e-12 ? 0 : Math.sign(turn);
};
const within = (a, b, c) =>
  Math.min(a[0], b[0]) <= c[0] && c[0] <= Math.max(a[0], b[0]) &&
  Math.min(a[1], b[1]) <= c[1] && c[1] <= Math.max(a[1], b[1]);

function meet([a, b], [c, d]) {
  const sides = [side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)];
  if (sides[0] * sides[1] < 0 && sides[2] * sides[3] < 0) return true;
  const ends = [[a, b, c], [a, b, d], [c, d, a], [c, d, b]];
  return ends.some(([p, q, r], i) => sides[i] === 0 && within(p, q, r));
}

const edgesOf = (points) => points.map((point, i) => [point, points[(i + 1) % points.length]]);

/** The numbers (from 1) of two points from which edges go that meet, or null. */
export function crossing(points) {
  const edges = edgesOf(points);
  for (let i = 0; i < edges.length; i += 1) {
    for (let j = i + 2; j < edges.length; j += 1) {
      const follows = i === 0 && j === edges.length - 1;
      if (!follows && meet(edges[i], edges[j])) return [i + 1, j + 1];
    }
  }
  return null;
}

const area = (points) =>
  Math.abs(edgesOf(points).reduce((sum, [[x1, y1], [x2, y2]]) => sum + x1 * y2 - x2 * y1, 0)) / 2;

/** What is wrong with a polygon: a key and its values for t(), or null. */
export function faultOf(points) {
  if (points.length < LEAST) return ["region.too_few", { n: points.length, least: LEAST }];
  if (points.length > MOST) return ["region.too_many", { n: points.length, most: MOST }];
  const out = points.findIndex(([x, y]) => !(x >= 0 && x <= 1 && y >= 0 && y <= 1));
  if (out >= 0) return ["region.outside", { point: out + 1 }];
  const crossed = crossing(points);
  if (crossed) return ["region.crosses", { first: crossed[0], second: crossed[1] }];
  return area(points) > 1e-9 ? null : ["region.no_area", {}];
}

const distanceToEdge = (x, y, [[x1, y1], [x2, y2]]) => {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const length = dx * dx + dy * dy;
  const along = length ? Math.min(1, Math.max(0, ((x - x1) * dx + (y - y1) * dy) / length)) : 0;
  return Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
};

/** The polygon with one more point, where it disturbs the shape least, and the index of that point. */
export function withPoint(points, x, y) {
  const point = [inside(x), inside(y)];
  if (points.length < LEAST) return [[...points, point], points.length];
  const distances = edgesOf(points).map((edge) => distanceToEdge(x, y, edge));
  const at = distances.indexOf(Math.min(...distances)) + 1;
  return [[...points.slice(0, at), point, ...points.slice(at)], at];
}

/** The polygon with a point in the middle of the edge after point `index`: for the keyboard. */
export function withPointAfter(points, index) {
  const [[x1, y1], [x2, y2]] = edgesOf(points)[index];
  const point = [inside((x1 + x2) / 2), inside((y1 + y2) / 2)];
  return [...points.slice(0, index + 1), point, ...points.slice(index + 1)];
}

export const moved = (points, index, x, y) =>
  points.map((point, i) => (i === index ? [inside(x), inside(y)] : point));

export const without = (points, index) => points.filter((_, i) => i !== index);

/** To begin with: the middle of the picture. */
export const START = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]];
