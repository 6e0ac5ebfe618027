// The status of a space on anybody's page: <bits-status src="https://space.example/"></bits-status>, docs/widgets.md.
// A guest there: no cookie, no global but the element's name, texts as text only, styles that a strict policy allows.

import { reduce } from "./state";
import type { Frame, Snapshot, Value } from "./types";

type Words = Record<Value | "since" | "silent" | "lost" | "last", string>;

const LANGUAGES: Record<string, Words> = {
  en: { open: "Open", closed: "Closed", away: "Away", unknown: "Unknown", since: "since", silent: "the board is silent", lost: "not connected", last: "last known:" },
  it: { open: "Aperto", closed: "Chiuso", away: "Fuori un attimo", unknown: "Non si sa", since: "da", silent: "la scheda tace", lost: "non connesso", last: "ultimo noto:" },
  de: { open: "Offen", closed: "Geschlossen", away: "Kurz weg", unknown: "Unbekannt", since: "seit", silent: "die Platine schweigt", lost: "nicht verbunden", last: "zuletzt bekannt:" },
  fr: { open: "Ouvert", closed: "Fermé", away: "Sortis un moment", unknown: "Inconnu", since: "depuis", silent: "le boîtier est muet", lost: "non connecté", last: "dernier connu :" },
};

const CONNECT_MS = 10_000; // a stream that has told nothing by then is held back by something on the way
const SILENT_MS = 90_000; // then it is asked whether it still lives: EventSource hides the server's heartbeats
const POLL_MS = 15_000;
const POLLS = 20; // then the stream is tried again
const LONGEST_MS = 60_000;
const LOST = 3; // failures in a row until what was known counts no more

const CSS = `
:host{display:inline-flex;flex-wrap:wrap;align-items:center;gap:.2em .5em;font:inherit}
:host([hidden]),[hidden]{display:none}
a{display:inline-flex;align-items:center;min-height:24px;padding:0 .7em;border-radius:var(--bits-radius,1em);font-weight:600;text-decoration:none;color:var(--bits-ink,#fff);background:var(--bits-unknown,#585c63)}
a:hover{text-decoration:underline}
a:focus-visible{outline:3px solid;outline-offset:2px}
[part~=open]{background:var(--bits-open,#0b6b4c)}
[part~=closed]{background:var(--bits-closed,#a1322a)}
[part~=away]{background:var(--bits-away,#8a5200)}
[part~=stale]{background-image:repeating-linear-gradient(135deg,#0000 0 .4em,#0003 .4em .8em)}
[part=detail]{font-size:.9em}
@supports (color:light-dark(#000,#fff)){
a{color:var(--bits-ink,light-dark(#fff,#131517));background:var(--bits-unknown,light-dark(#585c63,#a4aab1))}
[part~=open]{background-color:var(--bits-open,light-dark(#0b6b4c,#58c79f))}
[part~=closed]{background-color:var(--bits-closed,light-dark(#a1322a,#f0857b))}
[part~=away]{background-color:var(--bits-away,light-dark(#8a5200,#f0b45a))}
}
@media (forced-colors:active){a{border:1px solid}}`;

/** One space, however many elements of a page show it: the state, and what keeps it true. */
class Feed {
  state: Snapshot | undefined;
  failures = 0; // in a row
  readonly readers = new Set<() => void>();
  private proven = false; // the stream has worked here
  private polls = 0; // left, until the stream is tried
  private source: EventSource | undefined;
  private abort: AbortController | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly base: string) {
    document.addEventListener("visibilitychange", () => this.restart());
    addEventListener("online", () => this.restart());
  }

  add(reader: () => void): void {
    this.readers.add(reader);
    if (this.readers.size === 1) this.restart();
  }

  remove(reader: () => void): void {
    this.readers.delete(reader);
    if (!this.readers.size) this.close();
  }

  /** Connect while anybody can see it: a browser has six connections to a server, for all its tabs. */
  private restart(): void {
    this.close();
    if (this.readers.size && !document.hidden) this.open();
  }

  private close(): void {
    clearTimeout(this.timer);
    this.source?.close();
    this.abort?.abort();
    this.source = this.abort = undefined;
  }

  private after(ms: number, run: () => void): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(run, ms);
  }

  private open(): void {
    if (this.polls > 0) void this.poll();
    else this.listen();
  }

  private listen(): void {
    const since = this.state ? `?since=${this.state.seq}` : "";
    let source: EventSource;
    try {
      source = new EventSource(`${this.base}events${since}`);
    } catch {
      return this.lost();
    }
    this.source = source;
    this.after(CONNECT_MS, () => this.lost());
    source.onmessage = ({ data }: MessageEvent<string>) => {
      this.proven = true;
      this.take(JSON.parse(data) as Frame | Snapshot);
      this.after(SILENT_MS, () => void this.poll(true));
    };
    source.onerror = () => this.lost();
  }

  /** Ask once and plan the next time; or, of a stream, only whether it has kept something back. */
  private async poll(asks = false): Promise<void> {
    const abort = (this.abort = new AbortController());
    this.after(CONNECT_MS, () => abort.abort());
    try {
      const answer = await fetch(`${this.base}data`, { credentials: "omit", cache: "no-cache", signal: abort.signal });
      if (!answer.ok) throw answer.status;
      const snapshot = (await answer.json()) as Snapshot;
      if (abort !== this.abort) return;
      if (asks) {
        if (snapshot.seq > this.state!.seq) throw snapshot.seq;
        this.after(SILENT_MS, () => void this.poll(true));
        return;
      }
      this.polls -= 1;
      this.take(snapshot);
      this.after(POLL_MS * (0.8 + 0.4 * Math.random()), () => this.open());
    } catch {
      if (abort === this.abort) this.lost();
    }
  }

  private take(frame: Frame | Snapshot): void {
    this.failures = 0;
    if (this.state) this.state = reduce(this.state, frame);
    else if (frame.version) this.state = frame;
    this.tell();
  }

  private lost(): void {
    const streamed = this.source;
    this.close();
    this.failures += 1;
    if (streamed && !this.proven) this.polls = POLLS; // forbidden, or held back: the other way, at once
    else if (this.failures >= LOST) this.polls = this.polls ? 0 : POLLS; // by turns
    this.proven &&= this.failures < LOST;
    const longest = Math.min(LONGEST_MS, 1000 * 2 ** this.failures);
    // Jitter: those that a restarted server has lost must not all come back at once.
    this.after(longest * (0.5 + Math.random() / 2), () => this.open());
    this.tell();
  }

  private tell(): void {
    for (const reader of this.readers) reader();
  }
}

const feeds = new Map<string, Feed>();
const home = (document.currentScript as HTMLScriptElement | null)?.src; // where this script came from

class BitsStatus extends HTMLElement {
  static readonly observedAttributes = ["src", "lang", "compact"];
  private feed: Feed | undefined;
  private here = false; // in a page: attributes are told before that, too
  private readonly link = document.createElement("a");
  private readonly word = document.createElement("span");
  private readonly detail = document.createElement("span");
  private readonly show = (): void => this.render();

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet(); // where a page forbids <style>, this is still allowed
    sheet.replaceSync(CSS);
    root.adoptedStyleSheets = [sheet];
    this.word.setAttribute("role", "status"); // polite: announced when it changes, without interrupting
    this.link.append(this.word);
    this.detail.setAttribute("part", "detail");
    root.append(document.createElement("slot"), this.link, this.detail);
  }

  connectedCallback(): void {
    this.here = true;
    this.follow();
  }

  disconnectedCallback(): void {
    this.here = false;
    this.leave();
  }

  private leave(): void {
    this.feed?.remove(this.show);
    this.feed = undefined;
  }

  attributeChangedCallback(name: string): void {
    if (!this.here) return;
    if (name === "src") this.follow();
    else this.render();
  }

  private follow(): void {
    this.leave();
    this.link.removeAttribute("href");
    try {
      const url = new URL(this.getAttribute("src") ?? new URL("/", home).href, document.baseURI);
      if (!/^https?:$/.test(url.protocol)) throw url;
      url.search = url.hash = "";
      const base = url.href.replace(/\/*$/, "/");
      this.link.href = base;
      let feed = feeds.get(base);
      if (!feed) feeds.set(base, (feed = new Feed(base)));
      this.feed = feed;
      feed.add(this.show);
    } catch {
      console.error("bits-status: src is no address of a space");
    }
    this.render();
  }

  private render(): void {
    const { feed, word, detail } = this;
    const wish = this.closest<HTMLElement>("[lang]")?.lang || navigator.language;
    const known = wish.slice(0, 2).toLowerCase();
    const language = known in LANGUAGES ? known : "en";
    const words = LANGUAGES[language]!;
    const state = feed?.state;
    const status = state?.status;
    const lost = !feed || feed.failures >= LOST;
    const given = (!lost && status?.value) || "unknown";
    const value = given in words ? given : "unknown";
    // While the first answer is awaited nothing is said: a screen reader would read it out.
    const text = state || lost ? words[value] : "…";
    if (word.textContent !== text) word.textContent = text;
    const stale = !lost && state?.stale;
    this.link.setAttribute("part", `status ${value}${stale ? " stale" : ""}`);
    const parts: (string | Node)[] = [];
    if (status && value !== "unknown") parts.push(`${words.since} `, time(status.timestamp, language));
    if (status?.note && value !== "unknown") parts.push(` – ${status.note}`);
    if (stale) parts.push(`${parts.length ? " · " : ""}${words.silent}`);
    if (lost) parts.push(words.lost);
    if (lost && status) parts.push(` · ${words.last} ${words[status.value]}, `, time(status.timestamp, language));
    detail.replaceChildren(...parts);
    detail.hidden = this.hasAttribute("compact") || !parts.length;
    this.link.title = detail.hidden ? detail.textContent : "";
  }
}

function time(at: number, language: string): HTMLTimeElement {
  const element = document.createElement("time");
  const date = new Date(at);
  element.dateTime = date.toISOString();
  const clock: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };
  const today = date.toDateString() === new Date().toDateString();
  const locale = language === "en" ? "en-GB" : language; // hours from 0 to 23, as on the space's own page
  element.textContent = date.toLocaleString(locale, today ? clock : { weekday: "short", day: "numeric", month: "short", ...clock });
  return element;
}

// Two copies on one page are one too many, but no error.
if (!customElements.get("bits-status")) customElements.define("bits-status", BitsStatus);
