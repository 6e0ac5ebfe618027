// The temperature chart. Loaded after the page is live, since uPlot is most of the page's script.

import uPlot from "uplot";
import type { Sample } from "./types";

const HEIGHT = 220;
const SPAN_MIN_S = 600; // less would stretch one moment over the whole width

export interface ChartOptions {
  locale: string;
  time: string; // the word
  timeZone: string;
  name(sensor: number): string;
}

/** Arrange samples of several sensors, newest first, as uPlot wants them: shared rising times, one row a sensor. */
export function align(history: readonly Sample[]): { sensors: number[]; data: uPlot.AlignedData } {
  const sensors = [...new Set(history.map((sample) => sample.sensor))].sort((a, b) => a - b);
  const times = [...new Set(history.map((sample) => sample.timestamp / 1000))].sort((a, b) => a - b);
  const place = new Map(times.map((time, index) => [time, index]));
  const rows = sensors.map(() => new Array<number | null | undefined>(times.length).fill(undefined));
  for (const sample of history) {
    const row = rows[sensors.indexOf(sample.sensor)];
    const index = place.get(sample.timestamp / 1000);
    // Newest first: of two samples at one instant the first seen is the one that counts.
    if (row && index !== undefined) row[index] ??= sample.value;
  }
  return { sensors, data: [times, ...rows] };
}

/**
 * Choose what the time axis shows, in seconds: what uPlot proposes, but never past the newest sample (for a single
 * moment it proposes years) and never too little.
 */
export function timeRange(times: ArrayLike<number>, min: number, max: number): [number, number] {
  const end = Math.min(max, times[times.length - 1] ?? max);
  return [Math.min(min, end - SPAN_MIN_S), end];
}

export class Chart {
  private plot: uPlot | undefined;
  private shown = "";
  private history: readonly Sample[] = [];

  constructor(
    private readonly box: HTMLElement,
    private readonly options: ChartOptions,
  ) {
    new ResizeObserver(() => this.plot?.setSize({ width: box.clientWidth, height: HEIGHT })).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(true));
  }

  update(history: readonly Sample[]): void {
    if (this.plot && history === this.history) return; // other news must not undo the reader's zoom
    this.history = history;
    this.draw(false);
  }

  private draw(anew: boolean): void {
    const { sensors, data } = align(this.history);
    const shown = sensors.join();
    if (this.plot && !anew && shown === this.shown) {
      this.plot.setData(data);
      return;
    }
    this.plot?.destroy();
    this.shown = shown;
    this.plot = new uPlot(this.layout(sensors), data, this.box);
  }

  private layout(sensors: number[]): uPlot.Options {
    const style = getComputedStyle(this.box);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const { locale, time, timeZone, name } = this.options;
    const clock = new Intl.DateTimeFormat(locale, { timeZone, hour: "2-digit", minute: "2-digit" });
    const day = new Intl.DateTimeFormat(locale, { timeZone, day: "numeric", month: "short" });
    const moment = new Intl.DateTimeFormat(locale, { timeZone, dateStyle: "medium", timeStyle: "short" });
    const degrees = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
    const axis = {
      stroke: colour("--muted"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      font: `12px ${style.fontFamily}`,
    };
    return {
      width: this.box.clientWidth,
      height: HEIGHT,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), timeZone),
      cursor: { y: false },
      scales: { x: { range: (plot, min, max) => timeRange(plot.data[0], min, max) } },
      legend: { live: true },
      axes: [
        {
          ...axis,
          size: 32,
          values: (_plot, splits, _index, _space, step) =>
            splits.map((seconds) => (step >= 86_400 ? day : clock).format(seconds * 1000)),
        },
        { ...axis, size: 52, values: (_plot, splits) => splits.map((value) => `${degrees.format(value)}°`) },
      ],
      series: [
        { label: time, value: (_plot, seconds) => (seconds == null ? "–" : moment.format(seconds * 1000)) },
        ...sensors.map((sensor, index) => ({
          label: name(sensor),
          stroke: colour(`--series-${(index % 4) + 1}`),
          dash: index < 4 ? [] : [6, 4], // never colour alone, and never the same twice
          width: 2,
          points: { size: 5 },
          spanGaps: true,
          value: (_plot: uPlot, value: number | null) => (value == null ? "–" : `${degrees.format(value)} °C`),
        })),
      ],
    };
  }
}
