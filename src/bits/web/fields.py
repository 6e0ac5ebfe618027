"""Fields of forms: read, checked, and where they are refused, told beside the field with what was typed kept."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta, tzinfo

from sanic import Request

from bits.web import context, query
from bits.web.reader import language_of
from bits.web.route import form

AHEAD = timedelta(days=366)  # nobody plans further than that
KEPT = 2000  # characters of what was typed that are shown again
SECRET = "password", "old", "new", "again"  # never shown again


def is_printable(words: str) -> bool:
    """Tell whether there is no control character in words: boards show them, and terminals."""
    return not any(unicodedata.category(each) == "Cc" for each in words)


class Fields:
    """A form that was sent, and what is wrong with it.

    Args:
        values: what was typed, by field; nothing secret.
        errors: a sentence in the reader's language, by field; "" where it is no field's. Reading a field adds to them.
    """

    def __init__(self, request: Request, what: str = "fields") -> None:
        """Read a form, or none; what names the counter of refusals."""
        ctx = context.of(request)
        try:
            sent = {name: values[0] for name, values in form(request).items()}
        except ValueError:
            sent = {}
        self._sent = sent
        self._what = what
        self._counters = ctx.counters
        self._ = ctx.renderer.gettext(language_of(request))
        self.values = {name: value[:KEPT] for name, value in sent.items() if name not in SECRET}
        self.errors: dict[str, str] = {}

    def refuse(self, name: str, reason: str, sentence: str, **values: object) -> None:
        """Say what is wrong with a field: the first thing said of it counts.

        Args:
            reason: a word for the counter.
            sentence: a translated one, to be filled with the values.
        """
        self._counters[f'{self._what}_refused_total{{reason="{reason}"}}'] += 1
        self.errors.setdefault(name, sentence % values if values else sentence)

    def raw(self, name: str) -> str:
        return self._sent.get(name, "")

    def line(self, name: str, most: int, least: int = 0) -> str:
        """Return text on one line: white space of any kind becomes a single space."""
        _ = self._
        words = " ".join(self.raw(name).split())
        if least and not words:
            self.refuse(name, "empty", self._("Fill this in."))
        elif not least <= len(words) <= most:
            said = self._("This has %(length)s characters: at most %(most)s fit.")
            self.refuse(name, "too-long", said, length=len(words), most=most)
        elif not is_printable(words):
            self.refuse(name, "control", self._("There are characters in this that cannot be shown."))
        return words

    def password(self, name: str, least: int, most: int) -> str:
        """Return a new password, as it was typed."""
        given = self.raw(name)
        if not least <= len(given) <= most:
            said = self._("A password has %(least)s to %(most)s characters.")
            self.refuse(name, "bad-password", said, least=least, most=most)
        return given

    def whole(self, name: str, low: int, high: int) -> int:
        """Return a whole number; low where it is none."""
        number = query.whole(self.raw(name).strip(), low, high)
        if number is not None:
            return number
        said = self._("Expected a whole number from %(low)s to %(high)s.")
        self.refuse(name, "no-number", said, low=low, high=high)
        return low

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of the choices; the first where it is none."""
        given = self.raw(name)
        if given in choices:
            return given
        self.refuse(name, "no-choice", self._("Choose one of these."))
        return choices[0]

    def moment(self, name: str, zone: tzinfo, now: datetime, *, needed: bool = False) -> datetime | None:
        """Return a time to come, UTC, that was given on the clocks of a zone; None where it is missing or wrong.

        Args:
            now: aware.
            needed: it must not be missing.
        """
        _ = self._
        given = self.raw(name).strip()
        if not given:
            if needed:
                self.refuse(name, "empty", self._("Fill this in."))
            return None
        at = _local(given)
        if at is None:
            said = self._("Expected a date and a time like %(example)s.")
            self.refuse(name, "no-time", said, example=local(now, zone))
            return None
        first, second = (at.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first.astimezone(zone).replace(tzinfo=None) != at:
            self.refuse(name, "skipped", self._("The clocks are put forward over this time: choose another."))
        elif first != second:
            self.refuse(name, "twice", self._("This time comes twice, as the clocks are put back: choose another."))
        elif first <= now:
            self.refuse(name, "past", self._("This is over already: choose a time to come."))
        elif first > now + AHEAD:
            self.refuse(name, "far", self._("This is more than a year ahead."))
        else:
            return first
        return None


def _local(given: str) -> datetime | None:
    """Read what a datetime-local input sends; its years have four digits."""
    if not given.isascii():
        return None
    for form_ in ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"):
        try:
            at = datetime.strptime(given, form_)
        except ValueError:
            continue
        return at if 2000 <= at.year < 9000 else None
    return None


def local(at: datetime, zone: tzinfo) -> str:
    """Write a time as a datetime-local input takes it."""
    return at.astimezone(zone).strftime("%Y-%m-%dT%H:%M")
