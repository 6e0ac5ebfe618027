"""Sentences that are raised in one place and translated in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def N_(sentence: str, **values: object) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a sentence for the catalogues; who shows it translates it.

    Args:
        values: what stands at the sentence's places, as %(name)s. What people name so in requests and
            configuration is code, the same in all languages; of a tuple, any is meant.
    """
    return Filled(sentence, values) if values else sentence


class Filled(str):
    """A sentence with values in it: English, unless it is translated."""

    __slots__ = ("_sentence", "_values")
    _sentence: str
    _values: Mapping[str, object]

    def __new__(cls, sentence: str, values: Mapping[str, object]) -> Filled:
        self = super().__new__(cls, _fill(sentence, values, str))
        self._sentence, self._values = sentence, values
        return self

    def translated(self, gettext: Callable[[str], str]) -> str:
        return _fill(self._sentence, self._values, gettext)


def translate(sentence: str, gettext: Callable[[str], str]) -> str:
    return sentence.translated(gettext) if isinstance(sentence, Filled) else gettext(sentence)


def _fill(sentence: str, values: Mapping[str, object], gettext: Callable[[str], str]) -> str:
    either = gettext(N_("or"))
    return gettext(sentence) % {
        name: f" {either} ".join(value) if isinstance(value, tuple) else value for name, value in values.items()
    }
