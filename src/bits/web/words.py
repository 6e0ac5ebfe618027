"""Sentences that are raised in one place and translated in another."""

from __future__ import annotations


def N_(sentence: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a sentence for the catalogues; who shows it translates it."""
    return sentence
