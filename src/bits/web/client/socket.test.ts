import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection, type WebSocketLike, type World } from "./socket";
import type { Frame, Link, Snapshot } from "./types";

class FakeSocket implements WebSocketLike {
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;
  closed = false;
  constructor(readonly url: string) {
    Browser.current.sockets.push(this);
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

/** A browser whose clock stands still until it is told to move. */
class Browser implements World {
  static current: Browser;
  sockets: FakeSocket[] = [];
  timers = new Map<number, { at: number; run: () => void }>();
  now = 0;
  chance = 1;
  answers: (object | "down")[] = [];
  polls = 0;
  frames: (Frame | Snapshot)[] = [];
  links: Link[] = [];
  seq: number | undefined;
  readonly WebSocket = FakeSocket;
  readonly connection: Connection;
  private count = 0;

  constructor() {
    Browser.current = this;
    this.connection = new Connection(
      this,
      "https://space.example",
      () => this.seq,
      (frame) => {
        this.frames.push(frame);
        this.seq = frame.seq;
      },
      (link) => this.links.push(link),
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
  fetch(url: string): Promise<Response> {
    assert.equal(url, "https://space.example/data");
    this.polls += 1;
    const answer = this.answers.shift() ?? "down";
    return answer === "down" ? Promise.reject(new Error("down")) : Promise.resolve(Response.json(answer));
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
  get socket(): FakeSocket {
    return this.sockets.at(-1)!;
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
}

const SNAPSHOT = { version: 3, seq: 7, people: { count: 0 }, announced: [], stale: false };

test("opens a WebSocket and hands its frames on", () => {
  const browser = new Browser();
  browser.connection.start();
  assert.equal(browser.socket.url, "wss://space.example/ws");
  browser.socket.say(SNAPSHOT);
  browser.socket.say({ seq: 8, people: { count: 1 } });
  assert.deepEqual(browser.frames.map((frame) => frame.seq), [7, 8]);
  assert.deepEqual(browser.links, ["connecting", "live"]);
});

test("comes back after a break, with the seq it has", async () => {
  const browser = new Browser();
  browser.connection.start();
  browser.socket.say(SNAPSHOT);
  browser.socket.break();
  assert.equal(browser.links.at(-1), "connecting");
  await browser.pass(1000);
  assert.equal(browser.sockets.length, 2);
  assert.equal(browser.socket.url, "wss://space.example/ws?since=7");
  browser.socket.say({ seq: 7, stale: false });
  assert.equal(browser.links.at(-1), "live");
});

test("waits longer each time, by chance, and never over half a minute", async () => {
  const browser = new Browser();
  browser.connection.start();
  browser.socket.say(SNAPSHOT);
  const waits: number[] = [];
  for (let attempt = 0; attempt < 5; attempt++) {
    browser.socket.break();
    const since = browser.now;
    const count = browser.sockets.length;
    while (browser.sockets.length === count) await browser.pass(100);
    waits.push(browser.now - since);
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16000]);
  browser.chance = 0;
  const count = browser.sockets.length;
  browser.connection.kick();
  assert.equal(browser.sockets.length, count, "nothing to hurry while an attempt is under way");
});

test("hurries when the network comes back", async () => {
  const browser = new Browser();
  browser.connection.start();
  browser.socket.say(SNAPSHOT);
  browser.socket.break();
  browser.connection.kick();
  assert.equal(browser.sockets.length, 2);
  await browser.pass(5000);
  assert.equal(browser.sockets.length, 2, "the planned attempt was not cancelled");
});

test("gives up on an attempt that tells nothing", async () => {
  const browser = new Browser();
  browser.connection.start();
  const stuck = browser.socket;
  await browser.pass(12_000);
  assert.ok(stuck.closed);
  assert.equal(browser.sockets.length, 2);
  stuck.say(SNAPSHOT);
  assert.deepEqual(browser.frames, []);
});

test("polls where WebSockets never work, and tries them again", async () => {
  const browser = new Browser();
  browser.answers = Array.from({ length: 100 }, (_, n) => ({ ...SNAPSHOT, seq: n }));
  browser.connection.start();
  browser.socket.break();
  await browser.pass(2000);
  browser.socket.break();
  await browser.pass(10_000);
  assert.equal(browser.links.at(-1), "polling");
  assert.equal(browser.polls, 3);
  assert.equal(browser.sockets.length, 2);
  await browser.pass(50_000);
  assert.equal(browser.sockets.length, 3);
  browser.socket.break();
  await settle();
  assert.equal(browser.links.at(-1), "polling", "still polling after the failed try");
  await browser.pass(60_000);
  assert.equal(browser.sockets.length, 4);
  browser.socket.say({ ...SNAPSHOT, seq: 200 });
  assert.equal(browser.links.at(-1), "live");
  const polls = browser.polls;
  await browser.pass(60_000);
  assert.equal(browser.polls, polls, "polling went on beside the WebSocket");
});

test("says that it is offline when nothing works, and recovers", async () => {
  const browser = new Browser();
  browser.connection.start();
  for (let n = 0; n < 8; n++) {
    browser.socket.break();
    await browser.pass(40_000);
  }
  assert.equal(browser.links.at(-1), "offline");
  while (browser.links.at(-1) !== "live") {
    browser.socket.say(SNAPSHOT);
    await browser.pass(1000);
  }
});

test("leaves a good WebSocket alone, however it was come by", async () => {
  const browser = new Browser();
  browser.answers = [SNAPSHOT];
  browser.connection.start();
  browser.socket.break();
  await browser.pass(1000);
  browser.socket.break();
  await settle();
  assert.equal(browser.links.at(-1), "polling");
  // Polling fails too, before its try of something better is due, and the turn is the WebSocket's again.
  browser.chance = 0;
  while (browser.sockets.length === 2) await browser.pass(1000);
  assert.ok(browser.now < 60_000);
  const socket = browser.socket;
  socket.say(SNAPSHOT);
  assert.equal(browser.links.at(-1), "live");
  await browser.pass(120_000);
  assert.equal(socket.closed, false);
  assert.equal(browser.sockets.length, 3);
});
