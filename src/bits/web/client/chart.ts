// The temperature chart: the last day, week, month or year, or any span between. Loaded after the page is live, since
// uPlot is most of the page's script.

import uPlot from "uplot";
import type { Sample } from "./types";

const HEIGHT = 240;
const SPAN_MIN_S = 600; // less would stretch one moment over the whole width
const SPAN_MAX_MS = 10 * 366 * 86_400_000; // what the server gives at once
const REFRESH_MS = 5 * 60 * 1000;
const GAP_MS = 2 * 3600 * 1000; // a line that bridges a longer silence would make it up
const GAP_STEPS = 3;

/** When (milliseconds); mean, lowest and highest, °C. */
export type Point = [at: number, mean: number, low: number, high: number];

/** What /temperatures tells: docs/live.md. */
export interface Past {
  since: number;
  until: number;
  step: number;
  sensors: { sensor: number; name: string; points: Point[] }[];
}

export interface ChartOptions {
  locale: string;
  timeZone: string;
  name(sensor: number): string;
  string(key: string, values?: Record<string, string>): string;
}

/** What the chart is worked with, beside its own surface. */
export interface Tools {
  spans: HTMLElement; // radio buttons
  zoom: HTMLElement; // buttons whose value says what they do
  summary: HTMLElement;
}

/** Join what the server told of the past with the samples since, newest first: rising points, by sensor. */
export function join(past: Past | undefined, live: readonly Sample[]): Map<number, Point[]> {
  const found = new Map(past?.sensors.map(({ sensor, points }) => [sensor, [...points]]));
  for (const { timestamp, sensor, value } of [...live].reverse()) {
    if (past && timestamp <= past.until) continue;
    const points = found.get(sensor);
    const last = points?.at(-1);
    const point: Point = [timestamp, value, value, value];
    if (!points || !last) found.set(sensor, [point]);
    else if (timestamp > last[0]) points.push(point);
    else if (timestamp === last[0]) points[points.length - 1] = point;
    // What came late stands in its place once the past is loaded again.
  }
  return new Map([...found].sort(([a], [b]) => a - b));
}

type Row = (number | null | undefined)[];

/** Arrange points as uPlot wants them: shared rising times in seconds, then three rows a sensor: mean, low, high. */
export function align(points: Map<number, Point[]>, step = 0): uPlot.AlignedData {
  const longest = Math.max(GAP_MS, GAP_STEPS * step);
  const rows = new Map<number, Row[]>();
  const times = new Map<number, [sensor: number, point: Point | null][]>();
  const put = (at: number, sensor: number, point: Point | null): void => {
    const there = times.get(at);
    if (there) there.push([sensor, point]);
    else times.set(at, [[sensor, point]]);
  };
  for (const [sensor, all] of points) {
    rows.set(sensor, [[], [], []]);
    let last = all[0]?.[0] ?? 0;
    for (const point of all) {
      if (point[0] - last > longest) put((point[0] + last) / 2, sensor, null);
      put(point[0], sensor, point);
      last = point[0];
    }
  }
  const order = [...times.keys()].sort((a, b) => a - b);
  order.forEach((at, index) => {
    // uPlot takes undefined for "nothing here, go on", and null for a gap.
    for (const three of rows.values()) for (const row of three) row[index] = undefined;
    for (const [sensor, point] of times.get(at) ?? []) {
      rows.get(sensor)?.forEach((row, place) => {
        row[index] = point === null ? null : point[place + 1];
      });
    }
  });
  return [order.map((at) => at / 1000), ...[...rows.values()].flat()] as uPlot.AlignedData;
}

/**
 * Choose what the time axis shows, in seconds: what uPlot proposes, but never past the newest sample (for a single
 * moment it proposes years) and never too little.
 */
export function timeRange(times: ArrayLike<number>, min: number, max: number): [number, number] {
  const end = Math.min(max, times[times.length - 1] ?? max);
  return [Math.min(min, end - SPAN_MIN_S), end];
}

/** Work out the span (milliseconds) that a button leads to from another; now is its latest end. */
export function moved([from, to]: [number, number], how: string, now: number): [number, number] {
  const span = to - from;
  const middle = (from + to) / 2;
  const wanted = how === "in" ? span / 2 : how === "out" ? span * 2 : span;
  const half = Math.min(Math.max(wanted, SPAN_MIN_S * 1000), SPAN_MAX_MS) / 2;
  const centre = Math.max(middle + (how === "earlier" ? -half : how === "later" ? half : 0), half);
  const end = Math.min(Math.round(centre + half), now);
  return [end - Math.round(2 * half), end];
}

export class Chart {
  private plot: uPlot | undefined;
  private shown = "";
  private history: readonly Sample[] = [];
  private past: Past | undefined;
  private loaded = 0; // when, milliseconds
  private turn = 0; // of what is being loaded: an older answer must not replace a newer one
  private failed = false;
  private span = "day";
  private zoomed: [number, number] | undefined; // milliseconds
  private readonly known = new Set<number>(); // a sensor keeps its colour, whatever span is shown
  private readonly moment: Intl.DateTimeFormat;
  private readonly degrees: Intl.NumberFormat;

  constructor(
    private readonly box: HTMLElement,
    private readonly tools: Tools,
    private readonly options: ChartOptions,
  ) {
    const { locale, timeZone } = options;
    this.moment = new Intl.DateTimeFormat(locale, { timeZone, dateStyle: "medium", timeStyle: "short" });
    this.degrees = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
    box.setAttribute("role", "img");
    box.setAttribute("aria-labelledby", "chart-title");
    box.setAttribute("aria-describedby", tools.summary.id);
    new ResizeObserver(() => this.plot?.setSize({ width: box.clientWidth, height: HEIGHT })).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(true));
    for (const tool of [tools.spans, tools.zoom]) tool.hidden = false;
    tools.spans.addEventListener("change", (event) => {
      this.span = (event.target as HTMLInputElement).value;
      this.zoom(undefined);
    });
    tools.zoom.addEventListener("click", (event) => {
      const how = (event.target as HTMLElement).closest("button")?.value;
      const { min, max } = this.plot?.scales.x ?? {};
      if (how === "reset") this.zoom(undefined);
      else if (how && min != null && max != null) this.zoom(moved([min * 1000, max * 1000], how, Date.now()));
    });
  }

  /** Take the newest samples, newest first. */
  update(history: readonly Sample[]): void {
    if (this.plot && history === this.history) return;
    this.history = history;
    if (!this.plot) this.draw(false);
    else if (!this.zoomed) this.draw(false); // news must not undo the reader's zoom
    if (!this.zoomed && Date.now() - this.loaded > REFRESH_MS) void this.load();
  }

  private zoom(to: [number, number] | undefined): void {
    this.zoomed = to;
    if (to) this.plot?.setScale("x", { min: to[0] / 1000, max: to[1] / 1000 });
    void this.load();
  }

  private async load(): Promise<void> {
    const turn = ++this.turn;
    this.loaded = Date.now();
    const query = this.zoomed ? `since=${this.zoomed[0]}&until=${this.zoomed[1]}` : `span=${this.span}`;
    let past: Past | undefined;
    try {
      const answer = await fetch(`/temperatures?${query}`);
      if (answer.ok) past = (await answer.json()) as Past;
    } catch {
      // Not reachable: said below.
    }
    if (turn !== this.turn) return;
    this.failed = !past;
    if (past) this.past = past;
    else this.loaded = 0; // with the next sample, again
    this.draw(false);
  }

  private draw(anew: boolean): void {
    const points = join(this.past, this.zoomed ? [] : this.history);
    for (const sensor of points.keys()) this.known.add(sensor);
    const data = align(points, this.past?.step);
    const shown = [...points.keys()].join();
    if (this.plot && !anew && shown === this.shown) {
      this.plot.setData(data);
    } else {
      this.plot?.destroy();
      this.shown = shown;
      this.plot = new uPlot(this.layout([...points.keys()]), data, this.box);
    }
    this.sumUp(points, data[0]);
  }

  /** Say in words what the picture shows. */
  private sumUp(points: Map<number, Point[]>, times: ArrayLike<number>): void {
    const first = times[0];
    const last = times[times.length - 1];
    const whole: [number, number] | undefined = first != null && last != null ? [first * 1000, last * 1000] : undefined;
    const shown = this.zoomed ?? whole;
    const number = (value: number): string => this.degrees.format(value);
    const said = [...points].flatMap(([sensor, all]) => {
      if (all.length === 0) return [];
      const low = number(Math.min(...all.map((point) => point[2])));
      const high = number(Math.max(...all.map((point) => point[3])));
      return [this.options.string("chart_range", { sensor: this.options.name(sensor), low, high })];
    });
    const span = shown ? this.moment.formatRange(shown[0], shown[1]) : "";
    const text = said.length > 0 ? `${span} · ${said.join(" · ")}` : this.options.string("chart_empty");
    this.tools.summary.textContent = this.failed ? `${this.options.string("chart_failed")} ${text}` : text;
  }

  private layout(sensors: number[]): uPlot.Options {
    const style = getComputedStyle(this.box);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const { locale, timeZone, name, string } = this.options;
    const clock = new Intl.DateTimeFormat(locale, { timeZone, hour: "2-digit", minute: "2-digit" });
    const day = new Intl.DateTimeFormat(locale, { timeZone, day: "numeric", month: "short" });
    const month = new Intl.DateTimeFormat(locale, { timeZone, month: "short", year: "numeric" });
    const axis = {
      stroke: colour("--muted"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      font: `12px ${style.fontFamily}`,
    };
    const ranks = [...this.known].sort((a, b) => a - b);
    const rank = (sensor: number): number => ranks.indexOf(sensor);
    const ink = (sensor: number): string => colour(`--series-${(rank(sensor) % 4) + 1}`);
    const edge = (): uPlot.Series => ({ class: "edge", width: 0, points: { show: false } });
    return {
      width: this.box.clientWidth,
      height: HEIGHT,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), timeZone),
      cursor: {
        y: false,
        drag: { setScale: false }, // we do, with what is loaded for it
        bind: {
          dblclick: () => () => {
            this.zoom(undefined);
            return null;
          },
        },
      },
      hooks: {
        setSelect: [
          (plot) => {
            const { left, width } = plot.select;
            if (width === 0) return;
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            const span: [number, number] = [plot.posToVal(left, "x") * 1000, plot.posToVal(left + width, "x") * 1000];
            this.zoom(moved(span, "", Date.now()));
          },
        ],
      },
      scales: {
        x: {
          range: (plot, min, max) =>
            this.zoomed ? [this.zoomed[0] / 1000, this.zoomed[1] / 1000] : timeRange(plot.data[0], min, max),
        },
      },
      bands: sensors.map((sensor, index) => ({ series: [3 * index + 3, 3 * index + 2], fill: `${ink(sensor)}38` })),
      axes: [
        {
          ...axis,
          size: 32,
          values: (_plot, splits, _index, _space, step) =>
            splits.map((at) => (step >= 28 * 86_400 ? month : step >= 86_400 ? day : clock).format(at * 1000)),
        },
        { ...axis, size: 52, values: (_plot, splits) => splits.map((value) => `${this.degrees.format(value)}°`) },
      ],
      series: [
        { label: string("time"), value: (_plot, at) => (at == null ? "–" : this.moment.format(at * 1000)) },
        ...sensors.flatMap((sensor) => [
          {
            label: name(sensor),
            stroke: ink(sensor),
            dash: rank(sensor) < 4 ? [] : [6, 4], // never colour alone, and never the same twice
            width: 2,
            points: { size: 5 },
            value: (_plot: uPlot, value: number | null) =>
              value == null ? "–" : `${this.degrees.format(value)} °C`,
          },
          edge(),
          edge(),
        ]),
      ],
    };
  }
}
