// Staying connected: the best transport that works, and back after every break without missing anything.
// Time, chance and the network are handed in, so that the tests need none of them.

import type { Frame, Link, Snapshot } from "./types";

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

interface Listener {
  frame(frame: Frame | Snapshot): void;
  lost(): void; // once at most; nothing comes after it
}

/** Open a way to the server; returns how to close it. After closing it calls its listener no more. */
type Transport = (world: World, base: string, since: number | undefined, listener: Listener) => () => void;

const CONNECT_MS = 10_000; // an attempt that has told nothing by then has failed
const POLL_MS = 5_000;

const webSocket: Transport = (world, base, since, listener) => {
  const url = base.replace(/^http/, "ws") + "/ws" + (since === undefined ? "" : `?since=${since}`);
  const socket = new world.WebSocket(url);
  const end = (): void => {
    world.clearTimeout(patience);
    socket.onmessage = socket.onclose = null;
  };
  const patience = world.setTimeout(() => {
    end();
    socket.close();
    listener.lost();
  }, CONNECT_MS);
  socket.onmessage = ({ data }) => {
    world.clearTimeout(patience);
    listener.frame(JSON.parse(data) as Frame | Snapshot);
  };
  socket.onclose = () => {
    end();
    listener.lost();
  };
  return () => {
    end();
    socket.close();
  };
};

const polling: Transport = (world, base, _since, listener) => {
  const abort = new AbortController();
  let timer: unknown;
  const poll = async (): Promise<void> => {
    const patience = world.setTimeout(() => abort.abort(), CONNECT_MS);
    try {
      // "no-cache" asks the server each time; an unchanged answer is a 304 that costs no body.
      const answer = await world.fetch(`${base}/data`, { cache: "no-cache", signal: abort.signal });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const snapshot = (await answer.json()) as Snapshot;
      if (closed) return;
      listener.frame(snapshot);
      timer = world.setTimeout(() => void poll(), POLL_MS);
    } catch {
      if (!closed) listener.lost();
    } finally {
      world.clearTimeout(patience);
    }
  };
  let closed = false;
  void poll();
  return () => {
    closed = true;
    world.clearTimeout(timer);
    abort.abort();
  };
};

// Best first. Another way (server-sent events, long-polling) is one more line here.
const TRANSPORTS: readonly { link: Link; open: Transport }[] = [
  { link: "live", open: webSocket },
  { link: "polling", open: polling },
];

const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;
const UPGRADE_MS = 60_000; // how often a page on a lesser transport tries a better one

// Failures in a row until the next transport is tried: soon if this one has never worked here (a proxy in between
// forbids it), late if it has (the server is more likely down than changed).
const TRIES_UNPROVEN = 2;
const TRIES_PROVEN = 6;

export class Connection {
  private rank = 0;
  private failures = 0; // in a row, of this transport
  private silent = 0; // in a row, of any
  private proven = new Set<number>();
  private close: (() => void) | undefined;
  private retry: unknown;
  private upgrade: unknown;
  private link: Link | undefined;

  /**
   * @param base the server's address, like https://example.org
   * @param since tells the newest seq the page has, for resuming
   */
  constructor(
    private readonly world: World,
    private readonly base: string,
    private readonly since: () => number | undefined,
    private readonly onFrame: (frame: Frame | Snapshot) => void,
    private readonly onLink: (link: Link) => void,
  ) {}

  start(): void {
    this.tell("connecting");
    this.open();
  }

  /** Try at once: the network is back, or the page is looked at again. */
  kick(): void {
    if (this.retry !== undefined) this.open();
  }

  private tell(link: Link): void {
    if (link !== this.link) this.onLink((this.link = link));
  }

  private open(): void {
    this.world.clearTimeout(this.retry);
    this.retry = undefined;
    const transport = TRANSPORTS[this.rank]!;
    this.close = transport.open(this.world, this.base, this.since(), {
      frame: (frame) => {
        this.failures = this.silent = 0;
        this.proven.add(this.rank);
        this.tell(transport.link);
        if (this.rank > 0 && this.upgrade === undefined) this.planUpgrade();
        this.onFrame(frame);
      },
      lost: () => this.lost(),
    });
  }

  private lost(): void {
    this.close = undefined;
    this.failures += 1;
    this.silent += 1;
    const tries = this.proven.has(this.rank) ? TRIES_PROVEN : TRIES_UNPROVEN;
    if (this.failures >= tries) {
      // Try the next; after the last of them begin again with the best, when the wait is over.
      this.proven.delete(this.rank);
      this.rank = (this.rank + 1) % TRANSPORTS.length;
      this.failures = 0;
      if (this.rank > 0) {
        this.open();
        return;
      }
    }
    this.tell(this.silent > 2 ? "offline" : "connecting");
    // Full jitter: the clients of a restarted server must not all come back at once.
    const longest = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.silent);
    this.retry = this.world.setTimeout(() => this.open(), longest * this.world.random());
  }

  private planUpgrade(): void {
    this.upgrade = this.world.setTimeout(() => {
      this.upgrade = undefined;
      if (this.rank === 0) return; // a break has led back there meanwhile
      this.world.clearTimeout(this.retry);
      this.close?.();
      this.rank = 0;
      this.failures = TRIES_UNPROVEN - 1; // one try, then back
      this.open();
    }, UPGRADE_MS);
  }
}
