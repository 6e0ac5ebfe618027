// The state as the page knows it: a pure fold over frames. The server's own fold must lead to the same state;
// both are held to tests/vectors/stream.json.

import type { Frame, Sample, Snapshot } from "./types";

const HISTORY = 100;
const TREND_SPAN = 60 * 60 * 1000; // milliseconds looked back
const TREND_STEADY = 0.3; // °C that a thermometer may wander without meaning anything

/** Tell whether a frame is news to who knows everything up to `seq`. */
export function counts(frame: Frame | Snapshot, seq: number): boolean {
  if (frame.version !== undefined) return true;
  // A frame about how far the state may be believed is no event of its own: its seq is not new.
  return frame.stale === undefined ? frame.seq > seq : frame.seq >= seq;
}

export function reduce(state: Snapshot, frame: Frame | Snapshot): Snapshot {
  if (frame.version !== undefined) return frame;
  if (!counts(frame, state.seq)) return state;
  const next: Snapshot = { ...state, seq: frame.seq };
  if (frame.status) next.status = frame.status;
  if (frame.message) next.message = frame.message;
  if (frame.people) next.people = frame.people;
  if (frame.announced) next.announced = frame.announced;
  if (frame.heard !== undefined) next.heard = frame.heard;
  if (frame.stale !== undefined) next.stale = frame.stale;
  if (frame.tempint) {
    const sample = frame.tempint;
    next.tempint = sample;
    next.tempinthist = [sample, ...(state.tempinthist ?? [])].slice(0, HISTORY);
    next.sensors = [...(state.sensors ?? []).filter((other) => other.sensor !== sample.sensor), sample].sort(
      (a, b) => a.sensor - b.sensor,
    );
  }
  return next;
}

export type Trend = "rising" | "falling" | "steady";

/** Where a sensor's temperature is going: its newest sample against its oldest of the last hour. */
export function trend(history: readonly Sample[], sensor: number): Trend | undefined {
  const own = history.filter((sample) => sample.sensor === sensor);
  const newest = own[0];
  if (!newest) return undefined;
  const recent = own.filter((sample) => newest.timestamp - sample.timestamp <= TREND_SPAN);
  const oldest = recent.at(-1);
  if (!oldest || recent.length < 2) return undefined;
  const difference = newest.value - oldest.value;
  return difference > TREND_STEADY ? "rising" : difference < -TREND_STEADY ? "falling" : "steady";
}
