// Staying connected: the best way that works, and back after every break without missing anything.

import { counts } from "./state";
import { ask, type Known, type Times, TIMES, TRANSPORTS, type World } from "./transports";
import type { Frame, Link, Snapshot } from "./types";

export type { WebSocketLike, World } from "./transports";

/** One opened way to the server. */
interface Line {
  rank: number; // in TRANSPORTS
  greeted: boolean; // the server has spoken
  close(): void;
}

// Failures in a row until the next way is tried: at once where this one has not worked yet (a proxy in between forbids
// it), a little later where it has (the server is more likely down than the network changed).
const TRIES_PROVEN = 3;

export class Connection {
  private readonly times: Times;
  private line: Line | undefined;
  private trial: Line | undefined; // a better one, beside it until it has proven itself
  private rank = 0; // to be opened next
  private failures = 0; // in a row, of this way
  private rounds = 0; // in a row, without any
  private readonly proven = new Set<number>();
  private readonly holds = new Set<string>(); // why there is no connection now
  private retry: unknown;
  private idle: unknown;
  private upgrade: unknown;
  private upgradeMs: number;
  private checking = false;
  private seq: number | undefined;
  private stale: boolean | undefined;
  private told = "";

  /**
   * @param base the server's address, like https://example.org
   * @param since tells the newest seq the page has, at the start
   * @param onFrame gets what the page does not know yet: each event once, in order
   * @param onLink gets how the page hears of changes, and by which of the TRANSPORTS
   */
  constructor(
    private readonly world: World,
    private readonly base: string,
    private readonly since: () => number | undefined,
    private readonly onFrame: (frame: Frame | Snapshot) => void,
    private readonly onLink: (link: Link, transport: string) => void,
    times: Partial<Times> = {},
  ) {
    this.times = { ...TIMES, ...times };
    this.upgradeMs = this.times.upgrade;
  }

  start(): void {
    this.seq = this.since();
    this.tell("connecting");
    this.reopen();
  }

  /** Look now: the network has changed, or the page is looked at again, perhaps after a sleep. */
  kick(): void {
    this.upgradeMs = this.times.upgrade;
    if (this.retry !== undefined) this.reopen();
    else void this.check(false);
  }

  /** Hang up until `resume` is called with the same reason. */
  pause(reason = "person"): void {
    this.holds.add(reason);
    this.line?.close();
    this.trial?.close();
    this.line = this.trial = undefined;
    this.clear("retry");
    this.clear("idle");
    this.clear("upgrade");
    if (reason === "person") this.tell("paused");
  }

  resume(reason = "person"): void {
    if (!this.holds.delete(reason) || this.holds.size > 0) return;
    this.tell("connecting");
    this.failures = this.rounds = 0;
    this.reopen();
  }

  private clear(timer: "retry" | "idle" | "upgrade"): void {
    this.world.clearTimeout(this[timer]);
    this[timer] = undefined;
  }

  private tell(link: Link, transport = ""): void {
    if (this.told === link + transport) return;
    this.told = link + transport;
    this.onLink(link, transport);
  }

  private reopen(): void {
    this.clear("retry");
    this.line = this.open(this.rank);
  }

  private open(rank: number): Line {
    const { world, times } = this;
    let over = false;
    let hangUp = (): void => {};
    const line: Line = {
      rank,
      greeted: false,
      close: () => {
        over = true;
        world.clearTimeout(timer);
        hangUp();
      },
    };
    const lost = (): void => {
      if (!over) this.lose(line);
    };
    const alive = (): void => {
      if (over) return;
      if (!line.greeted) {
        line.greeted = true;
        world.clearTimeout(timer);
        timer = world.setTimeout(() => this.settle(line), times.steady);
      }
      this.heard(line);
    };
    const data = (json: string): void => {
      let told: unknown;
      try {
        told = JSON.parse(json);
      } catch {
        return lost(); // somebody else's answer: a hotel's page to sign in, say
      }
      alive();
      for (const frame of [told].flat() as (Frame | Snapshot)[]) if (!over) this.take(frame);
    };
    // Where nothing works the network may just be slow: more patience each time.
    let timer = world.setTimeout(lost, times.greet * (1 + Math.min(this.rounds, 3)));
    const known = (): Known => ({ seq: this.seq, stale: this.stale });
    try {
      hangUp = TRANSPORTS[rank]!.open(world, this.base, known, { data, alive, lost }, times);
    } catch {
      world.clearTimeout(timer);
      timer = world.setTimeout(lost, 0);
    }
    return line;
  }

  /** Hand a frame on, unless it has come by another way already. */
  private take(frame: Frame | Snapshot): void {
    if (this.seq !== undefined && !counts(frame, this.seq)) return;
    if (this.trial && frame.version && frame.seq < this.seq!) return; // asked for before the other way told more
    this.seq = frame.seq;
    if (frame.stale !== undefined) this.stale = frame.stale;
    this.onFrame(frame);
  }

  private heard(line: Line): void {
    if (line !== this.line) return;
    const { link, name } = TRANSPORTS[line.rank]!;
    this.tell(link, name);
    if (line.rank > 0 && this.upgrade === undefined && !this.trial) this.planUpgrade();
    this.expect();
  }

  private expect(): void {
    this.clear("idle");
    this.idle = this.world.setTimeout(() => void this.check(true), this.times.idle);
  }

  /**
   * Ask for the state, beside a line that has been silent: a middlebox may have dropped it without a word. (That a
   * WebSocket is pinged a page cannot see.) An unchanged state costs a 304.
   *
   * @param mute what keeps something from us now will do so again; false: a sleep may have broken it
   */
  private async check(mute: boolean): Promise<void> {
    const line = this.line;
    if (!line?.greeted || this.checking) return;
    this.checking = true;
    let snapshot: Snapshot | undefined;
    try {
      const text = await ask(this.world, `${this.base}/data`, "no-cache", this.times.greet, new AbortController());
      // Refused: it is there, but busy. No time for everybody to come back at once.
      if (text !== undefined) snapshot = JSON.parse(text) as Snapshot;
    } catch {
      if (line === this.line) this.lose(line);
      return;
    } finally {
      this.checking = false;
    }
    if (line !== this.line) return;
    this.expect();
    const behind = (): boolean => {
      const { seq = -1, stale = snapshot?.stale } = this;
      return !!snapshot && (snapshot.seq > seq || (snapshot.seq === seq && snapshot.stale !== stale));
    };
    if (!behind()) return;
    this.clear("idle");
    this.idle = this.world.setTimeout(() => {
      if (!behind()) return this.expect();
      if (mute) return this.lose(line, true);
      line.close();
      this.reopen();
    }, this.times.grace);
  }

  private settle(line: Line): void {
    if (line === this.trial) {
      this.line?.close();
      this.line = line;
      this.trial = undefined;
      this.heard(line);
    }
    this.rank = line.rank;
    this.proven.add(line.rank);
    this.failures = this.rounds = 0;
  }

  private lose(line: Line, mute = false): void {
    line.close();
    if (line === this.trial) {
      this.trial = undefined;
      this.tryBetter(line.rank + 1);
      return;
    }
    this.clear("idle");
    this.line = this.trial;
    if (this.line) {
      this.trial = undefined;
      this.rank = this.line.rank;
      if (this.line.greeted) this.heard(this.line);
      return;
    }
    this.failures += 1;
    if (mute || this.failures >= (this.proven.has(line.rank) ? TRIES_PROVEN : 1)) {
      this.proven.delete(line.rank);
      this.failures = 0;
      this.rank = (line.rank + 1) % TRANSPORTS.length;
      if (this.rank > 0) return this.reopen();
    }
    this.rounds += 1;
    this.tell(this.rounds > 2 ? "offline" : "connecting");
    // Full jitter: the clients of a restarted server must not all come back at once.
    const longest = Math.min(this.times.longest, this.times.retry * 2 ** this.rounds);
    this.retry = this.world.setTimeout(() => this.reopen(), longest * this.world.random());
  }

  private planUpgrade(): void {
    this.upgrade = this.world.setTimeout(
      () => {
        this.upgrade = undefined;
        this.tryBetter(0);
      },
      this.upgradeMs * (0.75 + this.world.random() / 2),
    );
    this.upgradeMs = Math.min(this.times.rarely, 2 * this.upgradeMs);
  }

  private tryBetter(rank: number): void {
    if (!this.line?.greeted) return; // it is planned anew with the next greeting
    if (rank < this.line.rank) this.trial = this.open(rank);
    else if (this.line.rank > 0) this.planUpgrade();
  }
}
