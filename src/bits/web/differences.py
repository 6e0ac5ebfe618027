"""What is different between two texts, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

CONTEXT = 3  # lines around a change
# Comparing takes up to the product of the lines times the fewer of them; what differs in more is shown as all replaced.
MOST = 100_000
SHOWN = 1000  # lines: nobody reads more, and a page of them takes its time to make


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the comparison; kind is same, del, ins; gap where equal lines are left out, more where the rest is."""

    kind: str
    text: str = ""


def _changes(old: Sequence[str], new: Sequence[str]) -> list[Line]:
    if len(old) * len(new) > MOST:
        return [*(Line("del", line) for line in old), *(Line("ins", line) for line in new)]
    lines = []
    for kind, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            lines += [Line("same", line) for line in old[i:j]]
        else:
            lines += [Line("del", line) for line in old[i:j]] + [Line("ins", line) for line in new[k:m]]
    return lines


def differences(before: str, after: str) -> list[Line]:
    """Compare two texts.

    Returns:
        The lines of both that are not in the other, with some around them, up to SHOWN and a last one that says so;
        empty where nothing differs.
    """
    old, new = before.split("\n"), after.split("\n")
    begin = 0
    while begin < min(len(old), len(new)) and old[begin] == new[begin]:
        begin += 1
    end = 0
    while end < min(len(old), len(new)) - begin and old[-1 - end] == new[-1 - end]:
        end += 1
    lines = [Line("same", line) for line in old[:begin]]
    lines += _changes(old[begin : len(old) - end], new[begin : len(new) - end])
    lines += [Line("same", line) for line in old[len(old) - end :]]
    near = set[int]()
    for index, line in enumerate(lines):
        if line.kind != "same":
            near.update(range(index - CONTEXT, index + CONTEXT + 1))
    shown: list[Line] = []
    for index, line in enumerate(lines):
        if index in near:
            shown.append(line)
        elif shown and shown[-1].kind != "gap":
            shown.append(Line("gap"))
        if len(shown) > SHOWN and shown[-1].kind != "gap":
            return [*shown[:SHOWN], Line("more")]
    return shown[:-1] if shown and shown[-1].kind == "gap" else shown
