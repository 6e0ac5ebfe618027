# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn tests/vectors/link.json into a table in C."""

from __future__ import annotations

import json
import sys
from typing import Any

NOISE = ("too-long", "empty", "no-crc", "bad-crc", "bad-body", "bad-line")


def stream(parts: Any) -> bytes:
    if isinstance(parts, str):
        parts = [parts]
    texts = [part if isinstance(part, str) else part["repeat"][0] * part["repeat"][1] for part in parts]
    return "".join(texts).encode("latin-1")


def literal(data: bytes) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in data) + '"'


def frame(wanted: dict[str, Any]) -> str:
    if wanted["type"] == "noise":
        # The board reads lines later than frames, and takes and ignores those it does not know.
        return f"{{.kind = FRAME_NOISE, .noise = {NOISE.index(wanted['reason'])}}}"
    fields = [f".kind = FRAME_{wanted['type'].upper()}"]
    fields += [f".{name} = {wanted[name]}u" for name in ("sid", "n", "age_ms") if name in wanted]
    if "line" in wanted:
        fields.append(f".line = {literal(wanted['line'].encode())}")
    return "{" + ", ".join(fields) + "}"


print("static const struct vector vectors[] = {")
for case in json.load(sys.stdin)["decode"]:
    data = stream(case["bytes"])
    frames = case["frames"]
    print(f"    {{{json.dumps(case['name'])}, {literal(data)}, {len(data)}, {len(frames)},")
    print("     {" + ", ".join(map(frame, frames)) + "}},")
print("};")
