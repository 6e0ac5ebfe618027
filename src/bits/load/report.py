"""What a load test found, for people, programs and browsers."""

from __future__ import annotations

import html
import json
import math
import os
import platform
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import chain, pairwise
from statistics import median

from bits import __version__
from bits._load import POLL, TRANSPORTS
from bits.load.options import Options

# Of the drawings, in pixels at their natural size.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 320, 64, 32, 12, 36

BINS = 60

NOTHING = "<p>Nothing was received.</p>"

COLOURS = {"websocket": "#0b6", "sse": "#36c", "longpoll": "#c60", "poll": "#a3a"}

# Of the percentile curve: nines are as far apart as the first half is wide.
CURVE = (0, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)
NAMED: dict[float, str] = {0: "first", 50: "median", 100: "last"}


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the trigger (or the first who got it) to the receipt."""

    first: float
    median: float
    p99: float
    last: float


@dataclass(frozen=True, slots=True)
class Result:
    """A finished test.

    Attributes:
        clients, connected: asked for; those that were there at some time.
        broadcasts, messages: that were triggered, or seen to begin; what came to a client and had not come before.
        latency_ms, by_transport: medians over the broadcasts, of each one's figures; each: the figures themselves.
        lost: messages that clients that were there when it began did not get; pollers owe none.
        doubled, disordered: messages that came again, and after a later one.
        failed, dropped: clients that were refused or never answered, and that were there and then let go.
        not_understood: answers that were no HTTP, event stream or WebSocket as it is known here.
        pings: heartbeats of the server.
        bytes_per_message: of the text; of all that came, for each message, where nothing was triggered.
        server: cpu_us_per_message, cpu_us_per_connect, rss_bytes_per_client; empty: not measured.
        trouble: the first refusal, in words; empty: there was none.
        curves: milliseconds at each of CURVE's percentiles, all broadcasts together.
        edges, histograms: milliseconds, rising from 0; how many messages came between each two.
    """

    clients: int
    connected: int
    connects_per_second: float
    broadcasts: int
    messages: int
    latency_ms: Latency | None
    by_transport: dict[str, Latency]
    each: list[Latency]
    lost: int
    doubled: int
    disordered: int
    failed: int
    dropped: int
    not_understood: int
    pings: int
    bytes_per_message: float
    tester_cpu_us_per_message: float
    server: dict[str, float]
    trouble: str
    machine: dict[str, str]
    curves: dict[str, list[float]]
    edges: list[float]
    histograms: dict[str, list[int]]

    @property
    def clean(self) -> bool:
        """Whether every client was there and got every broadcast once, in order."""
        return not (self.lost or self.doubled or self.disordered or self.failed or self.dropped or self.not_understood)

    def json(self) -> str:
        return json.dumps(asdict(self) | {"clean": self.clean}, indent=2)

    def text(self) -> str:
        """Return the summary for people."""
        rows = [
            ("clients", f"{self.connected} of {self.clients}, {self.connects_per_second:,.0f} a second"),
            ("broadcasts", f"{self.broadcasts}, {self.messages} messages of {self.bytes_per_message:.0f} bytes"),
        ]
        for name, latency in (("all", self.latency_ms), *self.by_transport.items()):
            if latency:
                rows.append(
                    (
                        f"latency, {name}",
                        f"first {latency.first:.2f}  median {latency.median:.2f}  p99 {latency.p99:.2f}  "
                        f"last {latency.last:.2f} ms",
                    )
                )
        rows += [
            ("lost / doubled / out of order", f"{self.lost} / {self.doubled} / {self.disordered}"),
            ("refused / dropped / not understood", f"{self.failed} / {self.dropped} / {self.not_understood}"),
            ("tester's processor", f"{self.tester_cpu_us_per_message:.2f} µs a message"),
        ]
        if self.server:
            rows.append(
                (
                    "server",
                    f"{self.server['cpu_us_per_message']:.2f} µs a message, "
                    f"{self.server['cpu_us_per_connect']:.1f} µs a connect, "
                    f"{self.server['rss_bytes_per_client']:.0f} bytes a client",
                )
            )
        if self.trouble:
            rows.append(("first trouble", self.trouble))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {value}" for name, value in rows)

    def html(self) -> str:
        """Return the report as one page that needs nothing else."""
        table = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(value.strip())}</td></tr>"
            for name, _, value in (line.partition("  ") for line in self.text().splitlines())
        )
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        return (
            '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Load test</title>\n'
            "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;"
            "color-scheme:light dark}th{text-align:left;padding-right:2rem;font-weight:600}"
            "td{font-variant-numeric:tabular-nums}svg{width:100%;height:auto;margin:1.5rem 0}"
            "svg text{font-size:11px;fill:currentColor}.grid{stroke:currentColor;opacity:.2}</style>\n"
            f"<h1>Load test</h1><p>{html.escape(machine)}</p>\n<table>{table}</table>\n"
            f"<h2>Latency by percentile</h2>{self._curves()}\n<h2>Messages by latency</h2>{self._bars()}</html>\n"
        )

    def _curves(self) -> str:
        """Draw latency against percentile, a line a transport; the axis stretches towards the last."""
        if not self.curves:
            return NOTHING
        highest = max(curve[-1] for curve in self.curves.values()) or 1.0
        step = (WIDTH - LEFT - RIGHT) / (len(CURVE) - 1)
        scale = (HEIGHT - TOP - BOTTOM) / highest
        parts = [
            f'<text x="{LEFT + i * step:.1f}" y="{HEIGHT - 14}" text-anchor="middle">'
            f"{NAMED.get(percent) or f'{percent:g} %'}</text>"
            for i, percent in enumerate(CURVE)
        ]
        for row, (name, curve) in enumerate(self.curves.items()):
            points = " ".join(
                f"{LEFT + i * step:.1f},{HEIGHT - BOTTOM - value * scale:.1f}" for i, value in enumerate(curve)
            )
            parts.append(f'<polyline fill="none" stroke="{COLOURS[name]}" stroke-width="2" points="{points}"/>')
            parts.append(_legend(row, name))
        return _frame("Latency by percentile", highest, " ms", parts)

    def _bars(self) -> str:
        """Draw how many messages took how long, the transports on top of each other."""
        if not self.histograms:
            return NOTHING
        sums = [sum(counts) for counts in zip(*self.histograms.values(), strict=True)]
        highest = max(sums)
        step = (WIDTH - LEFT - RIGHT) / BINS
        scale = (HEIGHT - TOP - BOTTOM) / highest
        parts = [
            f'<text x="{LEFT + i * step:.1f}" y="{HEIGHT - 14}" text-anchor="middle">{self.edges[i]:.1f} ms</text>'
            for i in range(0, BINS + 1, BINS // 6)
        ]
        floor = [float(HEIGHT - BOTTOM)] * BINS
        for row, (name, counts) in enumerate(self.histograms.items()):
            for i, count in enumerate(counts):
                floor[i] -= count * scale
                if count:
                    parts.append(
                        f'<rect x="{LEFT + i * step:.1f}" y="{floor[i]:.1f}" width="{step - 1:.1f}" '
                        f'height="{count * scale:.1f}" fill="{COLOURS[name]}"/>'
                    )
            parts.append(_legend(row, name))
        return _frame("Messages by latency", highest, "", parts)


def _legend(row: int, name: str) -> str:
    place = f'x="{WIDTH - RIGHT}" y="{TOP + 14 + row * 15}" text-anchor="end"'
    return f'<text {place} style="fill:{COLOURS[name]}">{name}</text>'


def _frame(title: str, highest: float, unit: str, parts: Sequence[str]) -> str:
    """Put a drawing over a grid with its upright axis."""
    grid = []
    for i in range(5):
        y = HEIGHT - BOTTOM - i * (HEIGHT - TOP - BOTTOM) / 4
        value = f"{i * highest / 4:,.1f}" if unit else f"{i * highest / 4:,.0f}"
        grid.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        grid.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value}{unit}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(grid)}{"".join(parts)}</svg>'


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile by nearest rank: the smallest value that so many per cent do not exceed."""
    rank = math.ceil(round(len(ordered) * percent / 100, 6))
    return ordered[max(0, rank - 1)]


def histogram(ordered: Sequence[float], edges: Sequence[float]) -> list[int]:
    """Count the values between each two edges; what is at the last edge belongs to the last bin.

    Args:
        ordered, edges: rising; no value lies outside the edges.
    Returns: one less than there are edges.
    """
    cuts = [bisect_left(ordered, edge) for edge in edges[:-1]] + [len(ordered)]
    return [high - low for low, high in pairwise(cuts)]


def _latency(ordered: Sequence[float]) -> Latency:
    return Latency(ordered[0], percentile(ordered, 50), percentile(ordered, 99), ordered[-1])


def _typical(broadcasts: Sequence[Latency]) -> Latency | None:
    """Return the medians, over the broadcasts, of each one's figures."""
    if not broadcasts:
        return None
    return Latency(*(median(figures) for figures in zip(*map(astuple, broadcasts), strict=True)))


def summarise(
    options: Options,
    *,
    totals: Mapping[str, int],
    there: Sequence[int],
    seconds: float,
    sent_us: Mapping[int, float],
    arrivals: Mapping[str, Mapping[int, Sequence[int]]],
    tester_cpu: float,
    server: dict[str, float],
    trouble: str,
) -> Result:
    """Make a result of what was counted.

    Args:
        totals: the counters, over all processes.
        there: clients that were there before the first broadcast, of each of TRANSPORTS.
        seconds: that connecting took.
        sent_us, arrivals: microseconds of one clock; by number, and by transport and number.
        tester_cpu: microseconds a message.
    """

    def latencies(times: Iterable[int], number: int) -> list[float]:
        return sorted((at - sent_us[number]) / 1e3 for at in times)

    everybody = (
        latencies(chain.from_iterable(one.get(number, ()) for one in arrivals.values()), number) for number in sent_us
    )
    each = [_latency(times) for times in everybody if times]
    by_transport: dict[str, Latency] = {}
    pooled: dict[str, list[float]] = {}
    lost = 0
    for kind, name in enumerate(TRANSPORTS):
        numbers = arrivals.get(name, {})
        if kind != POLL:  # a poller is given what is newest when it asks: it owes no message
            lost += sum(max(0, there[kind] - len(numbers.get(number, ()))) for number in sent_us)
        broadcasts = [latencies(numbers[number], number) for number in sent_us if number in numbers]
        if typical := _typical([_latency(times) for times in broadcasts]):
            by_transport[name] = typical
            pooled[name] = sorted(chain.from_iterable(broadcasts))
    highest = max((times[-1] for times in pooled.values()), default=0.0)
    edges = [highest * i / BINS for i in range(BINS + 1)]
    return Result(
        clients=options.clients,
        connected=totals["ever_ready"],
        connects_per_second=totals["ever_ready"] / seconds,
        broadcasts=len(sent_us),
        messages=totals["received"],
        latency_ms=_typical(each),
        by_transport=by_transport,
        each=each,
        lost=lost,
        doubled=totals["doubled"],
        disordered=totals["disordered"],
        failed=options.clients - totals["ever_ready"],  # whoever was never answered too
        dropped=totals["dropped"],
        not_understood=totals["broken"],
        pings=totals["pings"],
        bytes_per_message=options.size if options.control else totals["bytes_received"] / max(1, totals["received"]),
        tester_cpu_us_per_message=tester_cpu,
        server=server,
        trouble=trouble,
        machine={
            "bits": __version__,
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cores": str(os.cpu_count()),
        },
        curves={name: [percentile(times, percent) for percent in CURVE] for name, times in pooled.items()},
        edges=edges,
        histograms={name: histogram(times, edges) for name, times in pooled.items()},
    )
