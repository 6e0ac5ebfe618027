"""What happened how often since the start, for operators: every refusal has its count."""

from __future__ import annotations

from collections import Counter

# Names are Prometheus metric names without the prefix; a label may follow in the standard notation.
Counters = Counter[str]


def exposition(counters: Counters) -> str:
    """Write the counters in Prometheus' text format, sorted."""
    lines: list[str] = []
    family = ""
    for name in sorted(counters):
        base = name.partition("{")[0]
        if base != family:
            family = base
            lines.append(f"# TYPE bits_{base} {'counter' if base.endswith('_total') else 'gauge'}")
        lines.append(f"bits_{name} {counters[name]}")
    return "\n".join(lines) + "\n"
