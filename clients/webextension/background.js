// Keeps the icon true and tells of openings. A worker that sleeps: all it knows lies in the storage.
//
// Every minute an alarm wakes it, and it asks for /data, which costs a 304 where nothing has changed. In between it
// listens to the WebSocket where that keeps it awake (Chromium since 116); Firefox puts it to sleep all the same.

import { draw } from "./icon.js";
import { fold, isSnapshot, judge, valueOf } from "./space.js";
import { moment, text } from "./words.js";

const ALARM = "look";
const PATIENCE = 15_000; // milliseconds until a server that does not answer counts as gone
const KEEP_ALIVE = 20_000; // Chromium ends a worker that has heard and said nothing for 30 seconds
const STATES = { state: null, last: null, reachable: false };

const staysAwake = "ServiceWorkerGlobalScope" in self;
let stream = null;

/** One step after the other, whoever asks for them: else two could notify of the same opening. */
let steps = Promise.resolve();
const step = (work) => (steps = steps.then(work).catch((error) => console.error(error)));

const settings = () => chrome.storage.local.get({ origin: "", notify_open: true, notify_closed: false });
const known = () => chrome.storage.session.get(STATES);

// --- what to show

async function show({ state, reachable }, origin) {
  const value = reachable ? valueOf(state) : "unknown";
  let title = text("not_set_up");
  if (origin) {
    title = reachable ? text(value) : text("unreachable");
    if (value !== "unknown") title = text("since", text(value), moment(state.status.timestamp));
    title = `${new URL(origin).host}: ${title}`;
  }
  await chrome.action.setIcon({ imageData: { 16: draw(value, 16), 32: draw(value, 32) } });
  await chrome.action.setTitle({ title });
  const count = value === "open" ? state.people?.count : 0;
  await chrome.action.setBadgeText({ text: value === "unknown" ? "?" : count ? String(count) : "" });
  await chrome.action.setBadgeBackgroundColor({ color: "#33373c" });
}

/** Take in a state, or null: the server cannot be reached. */
async function take(state) {
  const { origin, notify_open, notify_closed } = await settings();
  const before = await known();
  const now = { ...before, reachable: state !== null };
  if (state !== null) {
    const { last, news } = judge(before.last ?? undefined, state);
    Object.assign(now, { state, last: last ?? null });
    if ((news === "open" && notify_open) || (news === "closed" && notify_closed)) await notify(news, state, origin);
  }
  await chrome.storage.session.set(now);
  await show(now, origin);
}

function notify(value, state, origin) {
  return chrome.notifications.create("status", {
    type: "basic",
    iconUrl: `icons/${value}.png`,
    title: `${text(value)} – ${new URL(origin).host}`,
    message: text("since", text(value), moment(state.status.timestamp)),
  });
}

// --- how to know

/** Ask. afresh: and listen from here on; not right after a stream broke, or one that always breaks would spin. */
async function look(afresh = true) {
  const { origin } = await settings();
  if (!origin) return show(STATES, "");
  let data = null;
  try {
    // The browser sends the ETag it has, and hands over what it has at a 304.
    const answer = await fetch(`${origin}/data`, { cache: "no-cache", credentials: "omit", signal: AbortSignal.timeout(PATIENCE) });
    data = answer.ok ? await answer.json() : null;
  } catch {
    // not reachable, or no JSON
  }
  await take(isSnapshot(data) ? fold(null, data) : null);
  if (afresh && staysAwake && isSnapshot(data)) listen(origin, data.seq);
}

function listen(origin, seq) {
  if (stream) return;
  const socket = (stream = new WebSocket(`${origin.replace(/^http/, "ws")}/ws?since=${seq}`));
  const alive = setInterval(() => socket.readyState === WebSocket.OPEN && socket.send(""), KEEP_ALIVE);
  socket.onmessage = ({ data }) => step(() => socket === stream && hear(JSON.parse(data)));
  socket.onclose = () => {
    clearInterval(alive);
    if (socket !== stream) return;
    stream = null;
    step(() => look(false));
  };
}

async function hear(frame) {
  const { state } = await known();
  const next = fold(state, frame);
  if (next !== state) await take(next);
}

/** Begin anew: another server, of which nothing is known. */
async function restart() {
  stream?.close();
  stream = null;
  await chrome.storage.session.set(STATES);
  await look();
}

// --- what wakes the worker

function awake() {
  chrome.alarms.create(ALARM, { periodInMinutes: 1 });
  step(() => look());
}
// Browsers may forget an alarm when the extension was switched off for a while.
chrome.alarms.get(ALARM).then((alarm) => alarm || awake());
chrome.runtime.onStartup.addListener(awake);
chrome.runtime.onInstalled.addListener(({ reason }) => {
  awake();
  if (reason === "install") step(async () => (await settings()).origin || chrome.runtime.openOptionsPage());
});
chrome.alarms.onAlarm.addListener(() => step(() => look()));
chrome.runtime.onMessage.addListener((message) => void (message === "look" && step(() => look())));
chrome.storage.onChanged.addListener((changes, area) => void (area === "local" && changes.origin && step(restart)));
chrome.notifications.onClicked.addListener(() =>
  step(async () => {
    await chrome.tabs.create({ url: (await settings()).origin });
    await chrome.notifications.clear("status");
  }),
);
