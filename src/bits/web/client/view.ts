// The only file that touches the page.

import type { Chart } from "./chart";
import { trend } from "./state";
import type { Announcement, Link, Sample, Snapshot, Value } from "./types";

export type Strings = Record<string, string>;

const MARKS: Record<Value, string> = {
  // A shape for each, so that the colour is never the only sign.
  open: `<circle cx="16" cy="16" r="13" fill="#12805c"/>`,
  closed: `<rect x="4" y="4" width="24" height="24" rx="3" fill="#b3372c"/>`,
  away: `<path d="M16 2 30 28H2z" fill="#a36200"/>`,
  unknown: `<circle cx="16" cy="16" r="11.5" fill="none" stroke="#767676" stroke-width="4" stroke-dasharray="6 5"/>`,
};

const SYMBOLS: Record<Value, string> = { open: "●", closed: "■", away: "▲", unknown: "?" };
const NO_SAMPLES: readonly Sample[] = []; // always the same: the chart redraws for another
const MINUTE_MS = 60_000;
const ARROWS = { rising: "▲", falling: "▼", steady: "–" } as const;

function one(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** Set an element's text only where it differs: a screen reader announces every change. */
function say(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag: string, text: string, className = ""): HTMLElement {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

export class View {
  private readonly locale: string;
  private readonly moment: Intl.DateTimeFormat;
  private readonly decimal: Intl.NumberFormat;
  private chart: Chart | undefined;
  private state: Snapshot | undefined;
  private readonly title = document.body.dataset.space ?? "BITS";

  constructor(
    lang: string,
    private readonly timeZone: string,
    private readonly strings: Strings,
    private readonly sensorNames: Record<string, string>,
  ) {
    // Days before months and 24 hours, as the server writes them.
    this.locale = lang === "en" ? "en-GB" : lang;
    this.moment = new Intl.DateTimeFormat(this.locale, {
      timeZone,
      weekday: "short",
      day: "numeric",
      month: "short",
      year: "numeric",
      hour: "2-digit",
      minute: "2-digit",
    });
    this.decimal = new Intl.NumberFormat(this.locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
    window.setInterval(() => this.state && this.showAnnounced(this.state.announced), MINUTE_MS);
  }

  private string(key: string, values: Record<string, string> = {}): string {
    const text = this.strings[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? "");
  }

  private time(stamp: number): HTMLTimeElement {
    const element = document.createElement("time");
    element.dateTime = new Date(stamp).toISOString();
    element.textContent = this.moment.format(stamp);
    return element;
  }

  /** Fill a sentence that holds one moment, keeping the moment a <time>. */
  private sentence(element: HTMLElement, key: string, stamp: number, values: Record<string, string> = {}): void {
    const [before = "", after = ""] = this.string(key, { ...values, when: "\0" }).split("\0");
    const time = this.time(stamp);
    if (element.textContent !== before + time.textContent + after) element.replaceChildren(before, time, after);
  }

  sensorName(sensor: number): string {
    return this.sensorNames[sensor] || this.string("sensor", { number: String(sensor) });
  }

  /** What to say of a copy that the worker has shown for want of a connection; undefined: the page is none, or not any more. */
  private get old(): string | undefined {
    const kept = one("kept");
    return kept.hidden ? undefined : kept.dataset.title;
  }

  show(state: Snapshot): void {
    const value = state.status?.value ?? "unknown";
    const word = this.string(value);
    const hero = one("hero");
    hero.dataset.value = value;
    say(one("status"), word);
    // For who listens: told once for each turn, and not what the page began with.
    if (this.state && this.state.status?.value !== state.status?.value) say(one("told"), word);
    this.state = state;
    const sign = this.old ? "unknown" : value;
    document.title = `${SYMBOLS[sign]} ${this.old ?? word} – ${this.title}`;
    const icon = `data:image/svg+xml,${encodeURIComponent(
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${MARKS[sign]}</svg>`,
    )}`;
    const favicon = document.querySelector<HTMLLinkElement>("link[rel=icon]");
    if (favicon && favicon.href !== icon) favicon.href = icon;

    const known = value === "unknown" ? undefined : state.status;
    const since = one("since");
    since.hidden = !known;
    if (known) this.sentence(since, "since", known.timestamp, { who: this.who(known.modifiedby, known.user) });
    one("note").hidden = !known?.note && !known?.until;
    say(one("note-text"), known?.note ?? "");
    const until = one("until");
    until.hidden = !known?.until;
    if (known?.until) this.sentence(until, "until", known.until);
    this.showHeard(state);
    this.showSensors(state);
    this.showMessage(state);
    say(one("people"), this.people(state.people.count));
    const names = one("names");
    names.hidden = !state.people.names;
    say(names, state.people.names?.join(", ") ?? "");
    this.showAnnounced(state.announced);
    this.chart?.update(state.tempinthist ?? NO_SAMPLES);
  }

  private showHeard(state: Snapshot): void {
    const heard = one("heard");
    const stale = one("stale");
    heard.hidden = state.stale;
    stale.hidden = !state.stale;
    const line = state.stale ? stale : heard;
    if (state.heard === undefined) say(line, this.string("never_heard"));
    else this.sentence(line, state.stale ? "silent" : "heard", state.heard);
  }

  private who(source: string, user: string | undefined): string {
    const means = this.string(source === "BITS" ? "board" : source);
    return user ? `${user} (${means})` : means;
  }

  private showAnnounced(announced: readonly Announcement[]): void {
    const rows = announced
      .filter((each) => each.ends > Date.now())
      .map((each) => {
        const row = document.createElement("li");
        const word = make("span", this.string(each.value ? "open" : "closed"), "word");
        word.dataset.value = each.value ? "open" : "closed";
        const span = document.createElement("span");
        span.append(this.time(each.begins), " – ", this.time(each.ends));
        row.append(word, " ", span);
        if (each.note) row.append(" ", make("span", each.note, "words"));
        row.append(" ", make("span", each.user, "byline"));
        return row;
      });
    one("coming-card").hidden = rows.length === 0;
    const list = one("coming");
    if (rows.map((row) => row.textContent).join() !== [...list.children].map((row) => row.textContent).join()) {
      list.replaceChildren(...rows);
    }
  }

  private people(count: number): string {
    return count === 0
      ? this.string("nobody")
      : count === 1
        ? this.string("one_person")
        : this.string("n_people", { count: String(count) });
  }

  private showSensors(state: Snapshot): void {
    const list = one("sensors");
    const rows = (state.sensors ?? []).map((sample) => {
      const row = document.createElement("li");
      row.append(
        make("span", this.sensorName(sample.sensor), "name"),
        make("span", `${this.decimal.format(sample.value)} °C`, "value"),
      );
      const going = trend(state.tempinthist ?? [], sample.sensor);
      if (going) {
        const arrow = make("span", ARROWS[going], "trend");
        arrow.setAttribute("role", "img");
        arrow.setAttribute("aria-label", this.string(going));
        arrow.title = this.string(going);
        row.append(arrow);
      }
      const when = this.time(sample.timestamp);
      when.className = "when";
      row.append(when);
      return row;
    });
    list.replaceChildren(...rows);
    one("no-sensors").hidden = rows.length > 0;
    one("chart-card").hidden = rows.length === 0;
  }

  private showMessage(state: Snapshot): void {
    one("no-message").hidden = state.message !== undefined;
    one("message").hidden = state.message === undefined;
    if (!state.message) return;
    say(one("message-text"), state.message.value);
    say(one("message-user"), state.message.user);
    const when = one("message-when");
    if (when.textContent !== this.moment.format(state.message.timestamp)) {
      when.replaceChildren(this.time(state.message.timestamp));
    }
  }

  link(link: Link, transport: string): void {
    if (link === "connecting" && this.old) link = "offline"; // until there is a connection
    const element = one("link");
    element.hidden = false;
    element.dataset.link = link;
    element.dataset.transport = transport;
    say(element, this.string(`link_${link}`));
  }

  /** Load the chart and keep it up to date from here on. */
  async addChart(state: () => Snapshot): Promise<void> {
    const { Chart } = await import("./chart");
    const tools = { spans: one("spans"), zoom: one("zoom"), summary: one("chart-summary") };
    this.chart = new Chart(one("chart"), tools, {
      locale: this.locale,
      timeZone: this.timeZone,
      name: (sensor) => this.sensorName(sensor),
      string: (key, values) => this.string(key, values),
    });
    this.chart.update(state().tempinthist ?? NO_SAMPLES);
  }
}
