"""The forecast as an image, for pages that can show nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from bits.web.palette import PALETTES, STEPS, ink, level

PAGE, INK, MUTED = "#ffffff", "#1b1c1e", "#5c6066"
LEFT, TOP, CELL, ROW, GAP = 48, 34, 27, 24, 1  # pixels at 1x; a cell is an hour
LEGEND = 46
EVERY = 3  # hours between labels


class Words(NamedTuple):
    title: str
    weekdays: Sequence[str]  # Monday first
    legend: str
    nothing: str


def draw(hours: Sequence[Sequence[float]] | None, words: Words, *, palette: str, scale: int) -> bytes:
    """Draw a table of weekdays and hours as PNG.

    Args:
        hours: 7 × 24 probabilities, Monday first; None: there is no forecast.
        scale: pixels of the image to one of the page, for screens that are sharp.
    """
    width, height = LEFT + 24 * CELL + 14, TOP + 7 * ROW + 20 + LEGEND
    image = Image.new("RGB", (width * scale, height * scale), PAGE)
    pen = ImageDraw.Draw(image)
    text, small = (ImageFont.load_default(size * scale) for size in (13, 10))
    colours = PALETTES[palette]

    def write(
        x: float, y: float, what: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, fill: str, anchor: str
    ) -> None:
        pen.text((x * scale, y * scale), what, fill=fill, font=font, anchor=anchor)

    def cell(x: float, y: float, w: float, h: float, fill: str) -> None:
        pen.rectangle((x * scale, y * scale, (x + w) * scale - 1, (y + h) * scale - 1), fill=fill)

    write(LEFT, 16, words.title, text, INK, "lm")
    for day, name in enumerate(words.weekdays):
        y = TOP + day * ROW
        write(LEFT - 8, y + ROW / 2, name, text, INK, "rm")
        for hour in range(24):
            p = hours[day][hour] if hours else None
            fill = colours[level(p)] if p is not None else "#e4e5e1"
            x = LEFT + hour * CELL
            cell(x, y, CELL - GAP, ROW - GAP, fill)
            if p is not None:
                write(x + (CELL - GAP) / 2, y + (ROW - GAP) / 2, f"{round(p * 100)}", small, ink(fill), "mm")
    for hour in range(0, 25, EVERY):
        write(LEFT + hour * CELL, TOP + 7 * ROW + 9, f"{hour}:00", small, MUTED, "mm")
    y = TOP + 7 * ROW + 28
    if hours is None:
        write(LEFT, y + 8, words.nothing, text, INK, "lm")
    else:
        write(LEFT, y + 8, words.legend, small, MUTED, "lm")
        start = LEFT + 24 * CELL - STEPS * 32
        for step, colour in enumerate(colours):
            cell(start + step * 32, y, 31, 16, colour)
            write(start + step * 32 + 15.5, y + 8, f"{step * 10}%", small, ink(colour), "mm")
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
