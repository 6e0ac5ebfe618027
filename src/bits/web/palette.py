"""The colours of probabilities, in eleven steps from 0 to 100 %. base.css has the same; a test compares them."""

from __future__ import annotations

STEPS = 11

# Unlit to lit: lightness rises with every step, which any eye, and any printer, can tell apart.
SAFE = (
    "#1b2540",
    "#233b57",
    "#2a5370",
    "#336b7e",
    "#408482",
    "#4f9d84",
    "#7cb17d",
    "#a5c572",
    "#c6d471",
    "#e1de7e",
    "#fbe88c",
)
# Red to green, as it was in 2013: familiar, and much the same from end to end to one man in twelve.
CLASSIC = (
    "#b3261e",
    "#c54724",
    "#d76329",
    "#e4812f",
    "#eba235",
    "#f0c23b",
    "#c8bf43",
    "#9dbb48",
    "#76af48",
    "#549c43",
    "#2b8a3e",
)

PALETTES = {"blind": SAFE, "classic": CLASSIC}
DEFAULT = "blind"


def level(p: float) -> int:
    """Return the step of a probability."""
    return round(p * (STEPS - 1))


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb, 0..1 (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def ink(colour: str) -> str:
    """Return black or white, whichever is easier to read on a colour."""
    return "#ffffff" if 1.05 / (luminance(colour) + 0.05) > (luminance(colour) + 0.05) / 0.05 else "#000000"
