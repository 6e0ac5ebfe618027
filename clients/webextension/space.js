// What is known of a space, without a browser's help: addresses, the fold over frames, what is worth a notification.

const LONGEST_ADDRESS = 200;

/**
 * Return the origin of a server by what somebody typed.
 * @param {string} typed
 * @returns {string}
 * @throws {Error} whose message is the key of a sentence: it is no address of a web page
 */
export function toOrigin(typed) {
  const text = typed.trim();
  if (!text) throw new Error("address_missing");
  if (text.length > LONGEST_ADDRESS) throw new Error("address_long");
  let url;
  try {
    url = new URL(text.includes("://") ? text : `https://${text}`);
  } catch {
    throw new Error("address_wrong");
  }
  if (!["http:", "https:"].includes(url.protocol)) throw new Error("address_scheme");
  if (url.username || url.password) throw new Error("address_password");
  if (url.hostname.includes("%")) throw new Error("address_wrong"); // Chromium takes a space for part of a name
  return url.origin;
}

/**
 * Return what to ask a permission for. Patterns know no ports: they hold for all of a host.
 * @param {string} origin
 */
export function toPattern(origin) {
  const { protocol, hostname } = new URL(origin);
  return `${protocol}//${hostname}/*`;
}

/** Tell whether something is the snapshot of a BITS server (docs/live.md). */
export function isSnapshot(data) {
  return Boolean(data) && data.version === 3 && Number.isSafeInteger(data.seq) && typeof data.stale === "boolean";
}

/**
 * Take in a frame of the stream, by the rules of docs/live.md; the history of temperatures is not kept.
 * @returns the state after it; the very same where the frame is no news.
 */
export function fold(state, frame) {
  if (isSnapshot(frame)) {
    const { tempinthist, ...rest } = frame;
    return rest;
  }
  if (!state || !Number.isSafeInteger(frame?.seq)) return state;
  if (frame.stale === undefined ? frame.seq <= state.seq : frame.seq < state.seq) return state;
  const { tempint, sound, ...rest } = frame;
  const next = { ...state, ...rest };
  if (tempint) {
    next.tempint = tempint;
    const others = (state.sensors ?? []).filter((other) => other.sensor !== tempint.sensor);
    next.sensors = [...others, tempint].sort((a, b) => a.sensor - b.sensor);
  }
  return next;
}

/** Return "open", "closed", "away" or "unknown"; unknown also where nothing is known. */
export function valueOf(state) {
  const value = state?.status?.value;
  return ["open", "closed", "away"].includes(value) ? value : "unknown";
}

/**
 * Decide what a new state is worth.
 * @param {{value: string, timestamp: number} | undefined} last the last known status; undefined: the browser has just
 *   started, or the server is another: what holds now is no news.
 * @returns {{last: object | undefined, news: "open" | "closed" | undefined}}
 */
export function judge(last, state) {
  const value = valueOf(state);
  if (value === "unknown") return { last, news: undefined }; // silence in between is no closing
  const { timestamp } = state.status;
  if (last && timestamp < last.timestamp) return { last, news: undefined }; // from a node that is a moment behind
  const isNews = last !== undefined && last.value !== value;
  return { last: { value, timestamp }, news: isNews && value !== "away" ? value : undefined };
}
