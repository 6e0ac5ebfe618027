import assert from "node:assert/strict";
import { setMaxListeners } from "node:events";
import { test } from "node:test";
import { Connection } from "./socket";
import type { WebSocketLike, World } from "./transports";
import type { Frame, Link, Snapshot } from "./types";

const SEPARATOR = "\n\n";

class FakeSocket implements WebSocketLike {
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;
  closed = false;
  constructor(readonly url: string) {
    Browser.current.sockets.push(this);
    Browser.current.onSocket(this);
  }
  close(): void {
    this.closed = true;
  }
  say(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  break(): void {
    this.onclose?.();
  }
}

/** What the server answers to a fetch: an object as JSON, a text as it is, or nothing ever ("hangs"), or no server. */
type Answer = object | string | Response;

/** A browser whose clock stands still until it is told to move. */
class Browser implements World {
  static current: Browser;
  sockets: FakeSocket[] = [];
  timers = new Map<number, { at: number; run: () => void }>();
  now = 0;
  chance = 1;
  fetched: string[] = []; // paths
  /** How each path is answered, by its beginning; "down" where nothing fits. */
  answers: Record<string, (path: string, signal: AbortSignal) => Answer | Promise<Answer>> = {};
  onSocket: (socket: FakeSocket) => void = () => {};
  frames: (Frame | Snapshot)[] = [];
  links: Link[] = [];
  transport = "";
  readonly WebSocket = FakeSocket;
  readonly connection: Connection;
  private count = 0;

  constructor(since?: number) {
    Browser.current = this;
    this.connection = new Connection(
      this,
      "https://space.example",
      () => since,
      (frame) => this.frames.push(frame),
      (link, transport) => {
        if (link !== this.links.at(-1)) this.links.push(link);
        this.transport = transport;
      },
    );
  }
  setTimeout(run: () => void, ms: number): number {
    this.timers.set(++this.count, { at: this.now + ms, run });
    return this.count;
  }
  clearTimeout(timer: unknown): void {
    this.timers.delete(timer as number);
  }
  random(): number {
    return this.chance;
  }
  async fetch(url: string, { signal }: { signal: AbortSignal }): Promise<Response> {
    const path = url.replace("https://space.example", "");
    this.fetched.push(path);
    const found = Object.keys(this.answers)
      .filter((start) => path.startsWith(start))
      .sort((a, b) => b.length - a.length)[0];
    if (found === undefined) throw new TypeError("down");
    setMaxListeners(0, signal);
    const aborted = new Promise<never>((_, reject) => {
      if (signal.aborted) reject(new Error("aborted"));
      signal.addEventListener("abort", () => reject(new Error("aborted")));
    });
    const answer = await Promise.race([this.answers[found]!(path, signal), aborted]);
    return answer instanceof Response ? answer : typeof answer === "string" ? new Response(answer) : Response.json(answer);
  }
  /** Let time pass, with everything that is due in it. */
  async pass(ms: number): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      await settle();
      const due = [...this.timers].filter(([, timer]) => timer.at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.now = due[1].at;
      due[1].run();
    }
    this.now = end;
  }
  asked(start: string): number {
    return this.fetched.filter((path) => path.startsWith(start)).length;
  }
  get socket(): FakeSocket {
    return this.sockets.at(-1)!;
  }
  get seqs(): number[] {
    return this.frames.map((frame) => frame.seq);
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** An event stream the test writes to. */
function stream(signal: AbortSignal): { response: Response; say: (text: string) => void; end: () => void } {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given) });
  let over = false;
  signal.addEventListener("abort", () => {
    if (!over) controller.error(new Error("aborted"));
    over = true;
  });
  return {
    response: new Response(body, { headers: { "content-type": "text/event-stream" } }),
    say: (text) => over || controller.enqueue(new TextEncoder().encode(text)),
    end: () => {
      if (!over) controller.close();
      over = true;
    },
  };
}

const never = (): Promise<never> => new Promise(() => {});
const refuse = (): Response => new Response("no", { status: 502 });

const SNAPSHOT = { version: 3, seq: 7, people: { count: 0 }, announced: [], stale: false };
const LIVENESS = { seq: 7, stale: false, people: { count: 0 } };

/** A browser with a WebSocket that has proven itself. */
async function live(): Promise<Browser> {
  const browser = new Browser(7);
  browser.connection.start();
  browser.socket.say(LIVENESS);
  await browser.pass(10_000);
  return browser;
}

test("opens a WebSocket and hands its frames on", () => {
  const browser = new Browser();
  browser.connection.start();
  assert.equal(browser.socket.url, "wss://space.example/ws");
  browser.socket.say(SNAPSHOT);
  browser.socket.say({ seq: 8, people: { count: 1 } });
  assert.deepEqual(browser.seqs, [7, 8]);
  assert.deepEqual(browser.links, ["connecting", "live"]);
  assert.equal(browser.transport, "websocket");
});

test("comes back after a break, with the seq it has, and takes nothing twice", async () => {
  const browser = await live();
  browser.socket.say({ seq: 8, people: { count: 1 } });
  browser.socket.break();
  assert.equal(browser.links.at(-1), "connecting");
  await browser.pass(4000);
  assert.equal(browser.sockets.length, 2);
  assert.equal(browser.socket.url, "wss://space.example/ws?since=8");
  for (const seq of [8, 9, 9]) browser.socket.say({ seq, people: { count: 2 } });
  assert.deepEqual(browser.seqs, [7, 8, 9]);
  assert.equal(browser.links.at(-1), "live");
});

test("waits longer each time, by chance, and never over half a minute", async () => {
  const browser = await live();
  const waits: number[] = [];
  const opened: number[] = [];
  browser.onSocket = (socket) => {
    opened.push(browser.now);
    browser.setTimeout(() => socket.break(), 0);
  };
  const from = browser.now;
  browser.socket.break();
  await browser.pass(200_000);
  opened.reduce((before, now) => (waits.push(now - before), now), from);
  assert.deepEqual(waits.slice(0, 5), [4000, 8000, 16_000, 30_000, 30_000]);
  assert.equal(browser.links.at(-1), "offline");
  // In half the time where chance says so; at once where the person comes back.
  browser.chance = 0.5;
  const count = browser.sockets.length;
  browser.connection.kick();
  assert.equal(browser.sockets.length, count + 1);
  browser.connection.kick();
  assert.equal(browser.sockets.length, count + 1, "nothing to hurry while an attempt is under way");
});

test("ten thousand clients of a server that restarts are spread over seconds", async () => {
  const back: number[] = [];
  for (let n = 0; n < 200; n++) {
    const browser = await live();
    browser.chance = (n + 0.5) / 200;
    const from = browser.now;
    browser.onSocket = () => back.push(browser.now - from);
    browser.socket.break();
    await browser.pass(4000);
  }
  for (let second = 0; second < 4; second++) {
    const many = back.filter((ms) => ms >= second * 1000 && ms < (second + 1) * 1000).length;
    assert.equal(many, 50);
  }
});

test("tries every way at once where none has worked, then waits", async () => {
  const browser = new Browser(7);
  browser.connection.start();
  browser.socket.break();
  await settle();
  assert.deepEqual(browser.fetched, ["/events?since=7", "/data?since=7&wait=0", "/data"]);
  assert.equal(browser.sockets.length, 1);
  await browser.pass(4000);
  assert.equal(browser.sockets.length, 2);
});

test("gives up on a WebSocket that tells nothing, and hears of events by a stream", async () => {
  const browser = new Browser(7);
  let events!: ReturnType<typeof stream>;
  browser.answers["/events"] = (_, signal) => (events = stream(signal)).response;
  browser.connection.start();
  const stuck = browser.socket;
  await browser.pass(5000);
  assert.ok(stuck.closed);
  assert.equal(browser.fetched.at(-1), "/events?since=7");
  // In pieces, as networks like to.
  const text = `id: 7\ndata: ${JSON.stringify(LIVENESS)}${SEPARATOR}:${SEPARATOR}id: 8\ndata: {"seq":8,"message":{"value":"è"}}${SEPARATOR}`;
  for (const part of text.match(/[^]{1,7}/g)!) {
    events.say(part);
    await settle();
  }
  stuck.say(SNAPSHOT);
  assert.deepEqual(browser.seqs, [7, 8]);
  assert.deepEqual(browser.frames[1]!.message, { value: "è" });
  assert.equal(browser.transport, "sse");
  assert.equal(browser.links.at(-1), "live");
});

test("notices that a stream is held back, and asks instead of listening", async () => {
  const browser = new Browser(7);
  browser.answers["/events"] = (_, signal) => stream(signal).response; // the head comes, and then nothing
  browser.answers["/data?since"] = (path) => (path.endsWith("wait=0") ? [LIVENESS] : never());
  browser.connection.start();
  browser.socket.break();
  await browser.pass(5000);
  assert.equal(browser.transport, "long-poll");
  await browser.pass(200);
  assert.equal(browser.fetched.at(-1), "/data?since=7&stale=0&wait=3.125");
});

test("long polls wait longer each time, as far as the network bears it", async () => {
  const browser = new Browser(7);
  const waits: number[] = [];
  browser.answers["/data?since"] = (path) => {
    const wait = Number(/wait=(.*)/.exec(path)![1]);
    waits.push(wait);
    return wait > 10 ? never() : new Promise((resolve) => browser.setTimeout(() => resolve([]), wait * 1000));
  };
  browser.onSocket = (socket) => browser.setTimeout(() => socket.break(), 0);
  browser.connection.start();
  await browser.pass(31_600);
  assert.deepEqual(waits, [0, 3.125, 6.25, 12.5, 0]);
  assert.equal(browser.transport, "long-poll", "it was good before, and is tried again");
});

test("polls where nothing waits, and goes on trying better ways beside it, ever more rarely", async () => {
  const browser = new Browser(7);
  browser.chance = 0.5;
  browser.answers["/data"] = (path) => (path === "/data" ? SNAPSHOT : refuse());
  browser.answers["/events"] = refuse;
  browser.onSocket = (socket) => browser.setTimeout(() => socket.break(), 0);
  browser.connection.start();
  await browser.pass(12_000);
  assert.equal(browser.transport, "poll");
  assert.equal(browser.links.at(-1), "polling");
  assert.equal(browser.fetched.filter((path) => path === "/data").length, 3);
  assert.equal(browser.sockets.length, 1);
  const changes = browser.links.length;
  await browser.pass(50_000);
  assert.equal(browser.sockets.length, 2);
  await browser.pass(3600_000);
  assert.ok(browser.sockets.length < 10, `${browser.sockets.length} attempts in an hour`);
  assert.equal(browser.links.length, changes, "nothing of it is seen");
  // Somebody carries the machine elsewhere.
  browser.onSocket = (socket) => void setImmediate(() => socket.say(SNAPSHOT));
  await browser.pass(1000_000);
  assert.equal(browser.transport, "websocket");
  const polls = browser.fetched.length;
  browser.onSocket = () => {};
  await browser.pass(40_000);
  assert.ok(browser.fetched.length <= polls + 1, "polling went on beside the WebSocket");
});

test("a poll that is overtaken by the better way on trial does not turn the page back", async () => {
  const browser = new Browser(7);
  browser.chance = 0.5;
  browser.answers["/data"] = (path) =>
    path === "/data" ? new Promise((resolve) => browser.setTimeout(() => resolve(SNAPSHOT), 4000)) : refuse();
  browser.onSocket = (socket) => browser.setTimeout(() => socket.break(), 0);
  browser.connection.start();
  await browser.pass(10_000);
  assert.equal(browser.transport, "poll");
  browser.onSocket = () => {};
  while (browser.sockets.length === 1) await browser.pass(100);
  browser.socket.say(LIVENESS);
  browser.socket.say({ seq: 8, people: { count: 1 } });
  await browser.pass(9_500); // a poll or two
  assert.equal(browser.transport, "poll");
  await browser.pass(1_000);
  assert.equal(browser.transport, "websocket");
  assert.deepEqual(browser.seqs, browser.seqs.toSorted(), "turned back");
  assert.equal(browser.seqs.at(-1), 8);
});

test("a WebSocket that greets and dies is not come back to at once", async () => {
  const browser = new Browser(7);
  browser.answers["/events"] = (_, signal) => {
    const events = stream(signal);
    events.say(`data: ${JSON.stringify(LIVENESS)}${SEPARATOR}`);
    return events.response;
  };
  browser.answers["/data"] = () => SNAPSHOT;
  browser.onSocket = (socket) => {
    setImmediate(() => socket.say(LIVENESS));
    browser.setTimeout(() => socket.break(), 100);
  };
  browser.connection.start();
  await browser.pass(10_000);
  assert.equal(browser.transport, "sse");
  const changes = browser.links.length;
  await browser.pass(3600_000);
  assert.equal(browser.links.length, changes, "it flaps");
  assert.ok(browser.sockets.length < 10);
  assert.equal(browser.asked("/events"), 1, "the stream was left");
});

test("asks whether it has missed anything when nothing comes, and leaves what keeps silent", async () => {
  const browser = await live();
  let seq = 7;
  browser.answers["/data"] = () => ({ ...SNAPSHOT, seq });
  browser.answers["/events"] = (_, signal) => {
    const events = stream(signal);
    events.say(`data: {"seq":8,"people":{"count":1}}${SEPARATOR}`);
    return events.response;
  };
  const socket = browser.socket;
  await browser.pass(180_000);
  assert.equal(browser.asked("/data"), 4, "once in 45 s");
  assert.equal(browser.transport, "websocket", "there was nothing to tell");
  seq = 8;
  await browser.pass(48_000);
  assert.ok(socket.closed);
  assert.equal(browser.transport, "sse");
  assert.deepEqual(browser.seqs, [7, 8]);
});

test("a frame that was only on its way is no reproach, nor is a server too busy to answer", async () => {
  const browser = await live();
  browser.answers["/data"] = () => ({ ...SNAPSHOT, seq: 8 });
  await browser.pass(36_000);
  assert.equal(browser.asked("/data"), 1);
  browser.socket.say({ seq: 8, people: { count: 1 } });
  browser.answers["/data"] = refuse;
  await browser.pass(100_000);
  assert.equal(browser.sockets.length, 1);
  assert.equal(browser.transport, "websocket");
});

test("looks at once when the machine wakes, and renews what a sleep has broken", async () => {
  const browser = await live();
  browser.answers["/data"] = () => ({ ...SNAPSHOT, seq: 9 });
  browser.connection.kick();
  browser.connection.kick();
  await browser.pass(3000);
  assert.equal(browser.asked("/data"), 1);
  assert.equal(browser.sockets.length, 2);
  assert.equal(browser.socket.url, "wss://space.example/ws?since=7");
});

test("an answer that is not ours is none: a hotel's page to sign in", async () => {
  const browser = new Browser(7);
  browser.answers[""] = () => "<html>Welcome</html>";
  browser.connection.start();
  browser.socket.break();
  await browser.pass(60_000);
  assert.deepEqual(browser.frames, []);
  assert.equal(browser.links.at(-1), "offline");
});

test("pauses, and resumes from what it has", async () => {
  const browser = await live();
  const { connection, socket } = browser;
  connection.pause();
  assert.ok(socket.closed);
  assert.equal(browser.links.at(-1), "paused");
  connection.kick();
  socket.say({ seq: 8, people: { count: 1 } });
  await browser.pass(3600_000);
  assert.equal(browser.sockets.length, 1);
  assert.deepEqual(browser.fetched, []);
  assert.equal(browser.timers.size, 0);
  // Put aside by the browser meanwhile, and taken out again: still paused.
  connection.pause("hidden");
  connection.resume("hidden");
  assert.equal(browser.sockets.length, 1);
  connection.resume();
  assert.equal(browser.socket.url, "wss://space.example/ws?since=7");
  connection.resume();
  assert.equal(browser.sockets.length, 2);
  browser.socket.say(LIVENESS);
  assert.equal(browser.links.at(-1), "live");
});

// --- whatever the weather

/** Chance that can be repeated (mulberry32, public domain). */
function dice(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Weather = "fine" | "refused" | "hangs" | "mute" | "short";
const WEATHERS: readonly Weather[] = ["fine", "fine", "refused", "hangs", "mute", "short"];

/** A server with a log, behind a network that treats each way of pushing as it pleases. */
class Net {
  seq = 7;
  weather: Record<string, Weather> = {};
  private listeners = new Set<(frames: object[]) => void>();

  constructor(
    readonly browser: Browser,
    private readonly chance: () => number,
  ) {
    browser.onSocket = (socket) => {
      const weather = this.weather.ws ?? "fine";
      if (weather === "hangs") return;
      if (weather === "refused") return void browser.setTimeout(() => socket.break(), 1);
      browser.setTimeout(() => {
        const close = this.listen(socket.url, weather, (frames) => frames.forEach((frame) => socket.say(frame)));
        if (weather === "short") browser.setTimeout(() => (close(), socket.break()), 1 + this.chance() * 20_000);
      }, 1);
    };
    browser.answers = {
      "/events": (path, signal) => {
        const weather = this.weather.events ?? "fine";
        if (weather === "hangs") return never();
        if (weather === "refused") return refuse();
        const events = stream(signal);
        const close = this.listen(path, weather, (frames) =>
          frames.forEach((frame) => events.say(`data: ${JSON.stringify(frame)}${SEPARATOR}`)),
        );
        if (weather === "short") browser.setTimeout(() => (close(), events.end()), 1 + this.chance() * 20_000);
        return events.response;
      },
      "/data?": (path) => {
        const weather = this.weather.long ?? "fine";
        if (weather === "hangs" || weather === "mute") return never();
        if (weather !== "fine") return refuse();
        if (!path.includes(`since=${this.seq}&`)) return this.first(path);
        if (path.endsWith("wait=0")) return [];
        return new Promise((resolve) => {
          const close = this.listen(path, "fine", (frames) => (close(), resolve(frames)), true);
          browser.setTimeout(() => (close(), resolve([])), 1000 * Number(/wait=(.*)/.exec(path)![1]));
        });
      },
      "/data": () => {
        const answer = this.weather.data === "refused" ? refuse() : { ...SNAPSHOT, seq: this.seq };
        return new Promise((resolve) => browser.setTimeout(() => resolve(answer), 4000 * this.chance()));
      },
    };
  }

  private first(path: string): object[] {
    const since = Number(/since=(\d+)/.exec(path)?.[1] ?? 0);
    if (this.seq - since > 20) return [{ ...SNAPSHOT, seq: this.seq }];
    const missed = Array.from({ length: this.seq - since }, (_, n) => ({ seq: since + n + 1 }));
    return [...missed, { ...LIVENESS, seq: this.seq }];
  }

  private listen(path: string, weather: Weather, say: (frames: object[]) => void, later = false): () => void {
    if (!later) say(this.first(path));
    if (weather === "mute") return () => {};
    // It takes a while, in order: the ways may overtake each other.
    const late = (frames: object[]): void => void this.browser.setTimeout(() => say(frames), delay);
    const delay = Math.floor(this.chance() * 2000);
    const told = later ? say : late;
    this.listeners.add(told);
    return () => this.listeners.delete(told);
  }

  happen(): void {
    this.seq += 1;
    for (const listener of this.listeners) listener([{ seq: this.seq }]);
  }
}

test("loses nothing and doubles nothing, whatever happens to the ways", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const chance = dice(seed);
    const browser = new Browser(7);
    browser.random = chance;
    const net = new Net(browser, chance);
    browser.connection.start();
    for (let step = 0; step < 60; step++) {
      const way = ["ws", "events", "long", "data"][Math.floor(chance() * 4)]!;
      net.weather[way] = WEATHERS[Math.floor(chance() * WEATHERS.length)]!;
      const dice = chance();
      if (dice < 0.5) net.happen();
      else if (dice < 0.55) for (let n = 0; n < 30; n++) net.happen();
      else if (dice < 0.65) browser.connection.kick();
      else if (dice < 0.7) browser.connection.pause();
      else if (dice < 0.8) browser.connection.resume();
      else if (dice < 0.85) browser.sockets.at(-1)?.break();
      await browser.pass(chance() * 30_000);
    }
    net.weather = {};
    browser.connection.resume();
    await browser.pass(180_000);
    let seq = 7;
    for (const frame of browser.frames) {
      if (frame.version !== undefined) {
        assert.ok(frame.seq >= seq, `seed ${seed}: back from ${seq} to ${frame.seq}`);
        seq = frame.seq;
      } else if (frame.stale !== undefined) {
        assert.equal(frame.seq, seq, `seed ${seed}: told of ${frame.seq} at ${seq}`);
      } else {
        assert.equal(frame.seq, seq + 1, `seed ${seed}`);
        seq = frame.seq;
      }
    }
    assert.equal(seq, net.seq, `seed ${seed}: not up to date at the end`);
  }
});
