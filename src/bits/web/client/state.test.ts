import assert from "node:assert/strict";
import { test } from "node:test";
import vectors from "../../../../tests/vectors/stream.json";
import { reduce, trend } from "./state";
import type { Frame, Sample, Snapshot } from "./types";

for (const { name, snapshot, frames, after } of vectors) {
  test(`stream: ${name}`, () => {
    const before = structuredClone(snapshot);
    const end = (frames as (Frame | Snapshot)[]).reduce(reduce, snapshot as Snapshot);
    assert.deepEqual(end, after);
    assert.deepEqual(snapshot, before, "the reducer changed what it was given");
  });
}

const sample = (minute: number, value: number, sensor = 0): Sample => ({
  timestamp: minute * 60_000,
  value,
  modifiedby: "BITS",
  sensor,
});

test("the history keeps the newest hundred", () => {
  let state: Snapshot = { version: 3, seq: 0, people: { count: 0 }, announced: [], stale: false };
  for (let seq = 1; seq <= 130; seq++) state = reduce(state, { seq, tempint: sample(seq, seq) });
  assert.equal(state.tempinthist?.length, 100);
  assert.equal(state.tempinthist?.[0]?.value, 130);
  assert.equal(state.tempinthist?.at(-1)?.value, 31);
});

test("a trend looks back an hour, at its own sensor only", () => {
  assert.equal(trend([], 0), undefined);
  assert.equal(trend([sample(0, 20)], 0), undefined);
  assert.equal(trend([sample(30, 20.5), sample(0, 20)], 0), "rising");
  assert.equal(trend([sample(30, 19.5), sample(0, 20)], 0), "falling");
  assert.equal(trend([sample(30, 20.2), sample(0, 20)], 0), "steady");
  assert.equal(trend([sample(90, 20), sample(60, 20), sample(0, 10)], 0), "steady");
  assert.equal(trend([sample(30, 20), sample(20, 5, 1), sample(0, 20)], 0), "steady");
});
