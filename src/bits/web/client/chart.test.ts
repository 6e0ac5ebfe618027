import assert from "node:assert/strict";
import { test } from "node:test";
import { align, join, moved, type Past, timeRange } from "./chart";
import type { Sample } from "./types";

const sample = (second: number, value: number, sensor: number): Sample => ({
  timestamp: second * 1000,
  value,
  modifiedby: "BITS",
  sensor,
});

const past: Past = {
  since: 0,
  until: 15_000,
  step: 1000,
  sensors: [{ sensor: 1, name: "", points: [[10_000, 8, 7, 9]] }],
};

test("samples newer than what was loaded are joined to it, in their order", () => {
  const live = [sample(30, 22, 4), sample(20, 9, 1), sample(15, 100, 1), sample(10, 100, 4)];
  assert.deepEqual(join(past, live), new Map([[1, [[10_000, 8, 7, 9], [20_000, 9, 9, 9]]], [4, [[30_000, 22, 22, 22]]]]));
  assert.deepEqual(past.sensors[0]?.points.length, 1, "what was loaded stays as it was");
});

test("without a past the samples alone are shown; of two at one instant the newer counts", () => {
  assert.deepEqual(join(undefined, [sample(10, 22, 0), sample(10, 21, 0)]), new Map([[0, [[10_000, 22, 22, 22]]]]));
  assert.deepEqual(join(undefined, [sample(10, 22, 0), sample(20, 21, 0)]), new Map([[0, [[20_000, 21, 21, 21]]]]));
});

test("sensors share one row of rising times, with three rows each", () => {
  const live = [sample(30, 22, 4), sample(20, 9, 1)];
  assert.deepEqual(align(join(past, live)), [
    [10, 20, 30],
    [8, 9, undefined],
    [7, 9, undefined],
    [9, 9, undefined],
    [undefined, undefined, 22],
    [undefined, undefined, 22],
    [undefined, undefined, 22],
  ]);
  assert.deepEqual(align(new Map()), [[]]);
});

test("a long silence is a gap, unless a step is as long", () => {
  const points = join(undefined, [sample(3 * 3600, 21, 0), sample(0, 20, 0)]);
  assert.deepEqual(align(points)[1], [20, null, 21]);
  assert.deepEqual(align(points, 3600_000)[1], [20, 21]);
});

test("the time axis ends at the newest sample and shows ten minutes at least", () => {
  assert.deepEqual(timeRange([5000], 5000, 5000 + 86_400_000), [4400, 5000]);
  assert.deepEqual(timeRange([1000, 5000], 1000, 5000), [1000, 5000]);
  assert.deepEqual(timeRange([1000, 5000], 4900, 4950), [4350, 4950]);
});

test("buttons move, widen and narrow the span, never past now and never too far", () => {
  const hour = 3600_000;
  const now = 1000 * hour;
  assert.deepEqual(moved([10 * hour, 12 * hour], "earlier", now), [9 * hour, 11 * hour]);
  assert.deepEqual(moved([10 * hour, 12 * hour], "later", now), [11 * hour, 13 * hour]);
  assert.deepEqual(moved([10 * hour, 12 * hour], "in", now), [10.5 * hour, 11.5 * hour]);
  assert.deepEqual(moved([10 * hour, 12 * hour], "out", now), [9 * hour, 13 * hour]);
  assert.deepEqual(moved([998 * hour, now], "later", now), [998 * hour, now]);
  assert.deepEqual(moved([998 * hour, now], "out", now), [996 * hour, now]);
  assert.deepEqual(moved([5, 10], "in", now)[1] - moved([5, 10], "in", now)[0], 600_000);
  assert.equal(moved([0, 2 * hour], "earlier", now)[0], 0);
});
