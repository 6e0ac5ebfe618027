// The ways to hear from the server, best first: docs/live.md, "The stream". Each only carries; who decides which one,
// and when one has failed, is socket.ts.

import type { Link } from "./types";

/** Time, chance and the network: handed in, so that the tests need none of them. */
export interface World {
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  random(): number; // 0 to 1
  WebSocket: new (url: string) => WebSocketLike;
  fetch(url: string, options: { cache: RequestCache; signal: AbortSignal }): Promise<Response>;
}

export interface WebSocketLike {
  onmessage: ((event: { data: string }) => void) | null;
  onclose: (() => void) | null;
  close(): void;
}

/** What the page has, for resuming. */
export interface Known {
  seq: number | undefined;
  stale: boolean | undefined;
}

export interface Listener {
  data(json: string): void; // a frame, a snapshot, or a list of them
  alive(): void; // something came that is neither
  lost(): void; // it has ended, whatever the reason
}

/** Milliseconds. */
export const TIMES = {
  greet: 5_000, // the server speaks first: a way that has told nothing by then does not work
  steady: 10_000, // what has held for so long has proven itself
  idle: 45_000, // more than the server's push_ping, after which an event stream has a comment
  grace: 3_000, // for a frame that is on its way
  wait: 25_000, // of a long poll: many proxies give up after 30 s or 60 s
  gap: 200, // between two long polls: what happens close together is told together
  poll: 5_000,
  retry: 2_000, // the first wait is up to twice as long, the next four times, …
  longest: 30_000,
  upgrade: 60_000, // until a better way is tried again; twice as long each time
  rarely: 960_000,
};
export type Times = typeof TIMES;

/** Open a way to the server; returns how to close it. The listener must not be called before that. */
type Open = (world: World, base: string, known: () => Known, listener: Listener, times: Times) => () => void;

const after = (seq: number | undefined): string => (seq === undefined ? "" : `?since=${seq}`);

const webSocket: Open = (world, base, known, { data, lost }) => {
  const socket = new world.WebSocket(`${base.replace(/^http/, "ws")}/ws${after(known().seq)}`);
  socket.onmessage = (event) => data(event.data);
  socket.onclose = lost;
  return () => {
    socket.onmessage = socket.onclose = null;
    socket.close();
  };
};

// Not EventSource, which hides the comments: they tell a stream that is held up from one that has nothing to tell.
const eventStream: Open = (world, base, known, { data, alive, lost }) => {
  const abort = new AbortController();
  const read = async (): Promise<void> => {
    const { seq } = known();
    const answer = await world.fetch(`${base}/events${after(seq)}`, { cache: "no-store", signal: abort.signal });
    if (!answer.ok || !answer.headers.get("content-type")?.startsWith("text/event-stream")) return;
    const reader = answer.body!.getReader();
    const decoder = new TextDecoder();
    for (let text = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const blocks = (text + decoder.decode(value, { stream: true })).split("\n\n");
      text = blocks.pop()!;
      for (const block of blocks) {
        const found = /^data: (.*)/m.exec(block);
        if (found) data(found[1]!);
      }
    }
  };
  read().then(lost, lost);
  return () => abort.abort();
};

/** Return the answer's body; undefined: the server refused. Rejects where there is none in time. */
export async function ask(
  world: World,
  url: string,
  cache: RequestCache,
  ms: number,
  abort: AbortController,
): Promise<string | undefined> {
  const patience = world.setTimeout(() => abort.abort(), ms);
  try {
    const answer = await world.fetch(url, { cache, signal: abort.signal });
    return answer.ok ? await answer.text() : undefined;
  } finally {
    world.clearTimeout(patience);
  }
}

/** Ask again and again. */
function repeat(
  world: World,
  { data, lost }: Listener,
  gap: number,
  next: () => [url: string, cache: RequestCache, ms: number],
): () => void {
  const abort = new AbortController();
  let timer: unknown;
  const turn = async (): Promise<void> => {
    const text = await ask(world, ...next(), abort);
    if (text === undefined) return lost();
    data(text);
    if (!abort.signal.aborted) timer = world.setTimeout(() => void turn().catch(lost), gap);
  };
  turn().catch(lost);
  return () => {
    world.clearTimeout(timer);
    abort.abort();
  };
}

const longPoll: Open = (world, base, known, listener, { wait, gap, greet }) => {
  let ms = 0; // the first is answered at once; how long one may wait here is found out by and by
  return repeat(world, listener, gap, () => {
    const { seq, stale } = known();
    const query = seq === undefined ? "?" : `${after(seq)}&${stale === undefined ? "" : `stale=${+stale}&`}`;
    const url = `${base}/data${query}wait=${ms / 1000}`;
    const patience = ms + greet;
    ms = ms ? Math.min(wait, 2 * ms) : wait / 8;
    return [url, "no-store", patience];
  });
};

// "no-cache" asks the server each time; an unchanged answer is a 304 that costs no body.
const polling: Open = (world, base, _known, listener, { poll, greet }) =>
  repeat(world, listener, poll, () => [`${base}/data`, "no-cache", greet]);

export const TRANSPORTS: readonly { name: string; link: Link; open: Open }[] = [
  { name: "websocket", link: "live", open: webSocket },
  { name: "sse", link: "live", open: eventStream },
  { name: "long-poll", link: "live", open: longPoll },
  { name: "poll", link: "polling", open: polling },
];
