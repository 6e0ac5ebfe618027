import assert from "node:assert/strict";
import { test } from "node:test";
import { align, timeRange } from "./chart";
import type { Sample } from "./types";

const sample = (second: number, value: number, sensor: number): Sample => ({
  timestamp: second * 1000,
  value,
  modifiedby: "BITS",
  sensor,
});

test("sensors share one row of rising times, with gaps where one has no sample", () => {
  const { sensors, data } = align([sample(30, 22, 4), sample(20, 9, 1), sample(10, 8, 1), sample(10, 21, 4)]);
  assert.deepEqual(sensors, [1, 4]);
  assert.deepEqual(data, [
    [10, 20, 30],
    [8, 9, undefined],
    [21, undefined, 22],
  ]);
});

test("of two samples at one instant the newer counts", () => {
  assert.deepEqual(align([sample(10, 22, 0), sample(10, 21, 0)]).data, [[10], [22]]);
  assert.deepEqual(align([]), { sensors: [], data: [[]] });
});

test("the time axis ends at the newest sample and shows ten minutes at least", () => {
  assert.deepEqual(timeRange([5000], 5000, 5000 + 86_400_000), [4400, 5000]);
  assert.deepEqual(timeRange([1000, 5000], 1000, 5000), [1000, 5000]);
  assert.deepEqual(timeRange([1000, 5000], 4900, 4950), [4350, 4950]);
});
