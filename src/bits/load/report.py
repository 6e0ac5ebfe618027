"""What a load test found, for people, programs and browsers."""

from __future__ import annotations

import html
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bits import __version__
from bits.load.options import Options

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
    """A finished test. Latencies are medians over the broadcasts, of each one's figures."""

    clients: int
    connected: int
    connects_per_second: float
    broadcasts: int
    messages: int
    latency_ms: Latency | None
    by_transport: dict[str, Latency]
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
            f"<h1>Load test</h1><p>{html.escape(machine)}</p>\n{self._plot()}\n<table>{table}</table></html>\n"
        )

    def _plot(self) -> str:
        """Draw latency against percentile, a line a transport; the axis stretches towards the last."""
        if not self.curves:
            return "<p>Nothing was received.</p>"
        width, height, left, bottom, top = 720, 320, 56, 36, 12
        highest = max(curve[-1] for curve in self.curves.values()) or 1.0
        step = (width - left - 12) / (len(CURVE) - 1)
        scale = (height - bottom - top) / highest
        parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Latency by percentile">']
        for i in range(5):
            y = height - bottom - i * highest / 4 * scale
            parts.append(f'<line class="grid" x1="{left}" x2="{width - 12}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{i * highest / 4:.1f} ms</text>')
        for i, percent in enumerate(CURVE):
            label = NAMED.get(percent) or f"{percent:g} %"
            parts.append(f'<text x="{left + i * step:.1f}" y="{height - 14}" text-anchor="middle">{label}</text>')
        for row, (name, curve) in enumerate(self.curves.items()):
            points = " ".join(
                f"{left + i * step:.1f},{height - bottom - value * scale:.1f}" for i, value in enumerate(curve)
            )
            colour = COLOURS.get(name, "currentColor")
            parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
            parts.append(f'<text x="{left + 8}" y="{top + 14 + row * 15}" style="fill:{colour}">{name}</text>')
        return "".join(parts) + "</svg>"


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile by nearest rank."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _latency(broadcasts: list[list[float]]) -> Latency | None:
    """Return the medians, over the broadcasts, of each one's figures. Each is sorted, in milliseconds."""
    if not broadcasts:
        return None
    return Latency(
        first=median(times[0] for times in broadcasts),
        median=median(percentile(times, 50) for times in broadcasts),
        p99=median(percentile(times, 99) for times in broadcasts),
        last=median(times[-1] for times in broadcasts),
    )


def summarise(
    options: Options,
    *,
    totals: Mapping[str, int],
    there: int,
    seconds: float,
    sent_at: Mapping[int, float],
    arrivals: Mapping[str, Mapping[int, list[float]]],
    tester_cpu: float,
    server: dict[str, float],
    trouble: str,
) -> Result:
    """Make a result of what was counted.

    Args:
        there: clients that were there when the first broadcast was triggered.
        sent_at, arrivals: seconds of one clock; by number, by transport and number.
    """
    latencies = {
        name: [
            sorted((at - sent_at[number]) * 1e3 for at in times)
            for number, times in numbers.items()
            if number in sent_at
        ]
        for name, numbers in arrivals.items()
    }
    everybody: dict[int, list[float]] = {}
    for numbers in arrivals.values():
        for number, times in numbers.items():
            if number in sent_at:
                everybody.setdefault(number, []).extend((at - sent_at[number]) * 1e3 for at in times)
    reached = sum(len(times) for times in everybody.values())
    # A poller is given what is newest when it asks: it owes no message.
    owing = there - round(there * options.counts()[3] / max(1, options.clients))
    polled = sum(len(times) for times in arrivals.get("poll", {}).values())
    missing = max(0, owing * len(sent_at) - (reached - polled)) if options.control else 0
    return Result(
        clients=options.clients,
        connected=totals["ever_ready"],
        connects_per_second=totals["ever_ready"] / seconds,
        broadcasts=len(sent_at),
        messages=totals["received"],
        latency_ms=_latency([sorted(times) for times in everybody.values() if times]),
        by_transport={
            name: latency for name, times in latencies.items() if (latency := _latency([one for one in times if one]))
        },
        lost=missing if options.control else totals["lost"],
        doubled=totals["doubled"],
        disordered=totals["disordered"],
        failed=totals["failed"],
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
        curves={
            name: [percentile(flat, percent) for percent in CURVE]
            for name, times in latencies.items()
            if (flat := sorted(one for broadcast in times for one in broadcast))
        },
    )
