"""Templates, translations, and the built assets' names."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.dates import format_date, format_datetime, format_skeleton, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import NullTranslations, Translations
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bits.config import Config
from bits.errors import BitsError
from bits.web.body import LANGUAGE_VARIES, Body

HERE = Path(__file__).parent
LOCALES = {"en": "en_GB"}  # whose dates and hours a language is written with, where it is not a matter of course
PORTION = 0.005  # seconds of the loop's time that a long page takes at once
LANGUAGES = ("en", "it", "de", "fr")  # the first is the texts' own, and the one for everybody else


def negotiate(header: str) -> str:
    """Choose a language by an Accept-Language header."""
    wanted: list[tuple[float, str]] = []
    for part in header.lower().split(",")[:20]:
        tag, _, parameters = part.strip().partition(";")
        try:
            quality = float(parameters.strip().removeprefix("q=")) if parameters else 1.0
        except ValueError:
            continue
        wanted.append((quality, tag.partition("-")[0]))
    for quality, language in sorted(wanted, key=lambda pair: -pair[0]):
        if quality > 0 and language in LANGUAGES:
            return language
    return LANGUAGES[0]


def _translations(language: str) -> NullTranslations:
    """Compile a catalogue in memory: no built file to forget."""
    catalogue = HERE / "locale" / language / "LC_MESSAGES" / "messages.po"
    if not catalogue.exists():
        return NullTranslations()
    compiled = BytesIO()
    with catalogue.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


class Assets:
    """The front end as built: every file in memory, under a name that holds its content's hash."""

    def __init__(self, folder: Path = HERE / "static") -> None:
        manifest = folder / "manifest.json"
        if not manifest.exists():
            raise BitsError(
                f"the front end is not built ({manifest} is missing): run `make build`, or install the wheel"
            )
        self.names: Mapping[str, str] = json.loads(manifest.read_bytes())
        self.bodies = {
            file.name: Body(file.read_bytes(), _content_type(file.name))
            for file in folder.iterdir()
            if file.is_file() and file != manifest
        }

    def url(self, name: str) -> str:
        return f"/static/{self.names[name]}"


def _content_type(name: str) -> str:
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{guessed}; charset=utf-8" if guessed.startswith(("text/", "application/javascript")) else guessed


class Renderer:
    """Render the templates in the reader's language and the space's time zone."""

    def __init__(self, config: Config, assets: Assets) -> None:
        self._catalogues = {language: _translations(language) for language in LANGUAGES}
        self.environments = {language: self._environment(language, config, assets) for language in LANGUAGES}

    def _environment(self, language: str, config: Config, assets: Assets) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            extensions=["jinja2.ext.i18n"],
            auto_reload=config.developer_mode,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.install_gettext_translations(self._catalogues[language], newstyle=True)  # type: ignore[attr-defined]
        zone = config.time_zone
        locale = LOCALES.get(language, language)

        def moment(at: datetime) -> str:
            """As the browser's Intl writes it, so that nothing changes when the page comes alive."""
            local = at.astimezone(zone)
            return f"{whole_day(local.date())}, {hour_minute(local.hour, local.minute)}"

        def clock(at: datetime) -> str:
            local = at.astimezone(zone)
            return hour_minute(local.hour, local.minute)

        # A page of the history has hundreds of each of these, which take a tenth of a millisecond to write.
        @lru_cache(maxsize=24 * 60)
        def hour_minute(hour: int, minute: int) -> str:
            return format_time(datetime(2000, 1, 1, hour, minute), "HH:mm", locale=language)

        def iso(at: datetime) -> str:
            return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

        @lru_cache(maxsize=1000)
        def decimal(number: float) -> str:
            return format_decimal(number, "0.0", locale=language)

        def about(at: datetime) -> str:
            """To five minutes: no forecast knows more."""
            return clock(datetime.fromtimestamp(round(at.timestamp() / 300) * 300, UTC))

        def weekday_time(at: datetime) -> str:
            return format_datetime(at, "EEEE HH:mm", tzinfo=zone, locale=language)

        def weekday(day: date) -> str:
            return format_date(day, "EEE", locale=language)

        @lru_cache(maxsize=1000)
        def whole_day(day: date) -> str:
            return format_skeleton("yMMMEd", datetime(day.year, day.month, day.day), tzinfo=None, locale=locale)

        def brier(number: float) -> str:
            return format_decimal(number, "0.000", locale=language)

        environment.filters |= {"moment": moment, "clock": clock, "iso": iso, "decimal": decimal}
        environment.filters |= {"about": about, "weekday_time": weekday_time, "weekday": weekday, "brier": brier}
        environment.filters |= {"whole_day": whole_day}
        # Data blocks are read by the browser as JSON, never run: only "<" could end them early.
        environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
        environment.globals |= {
            "space": {
                "name": config.space_name,
                "logo": config.space_logo,
                "place": config.space_place,
                "url": config.space_url,
                "links": config.space_links,
            },
            "lang": language,
            "asset": assets.url,
            "time_zone": str(zone),
            "developer_mode": config.developer_mode,
            "public_url": config.public_url,
            "offline": config.web_offline,
        }
        return environment

    def gettext(self, language: str) -> Callable[[str], str]:
        """Return what translates a text."""
        return self._catalogues[language].gettext

    def page(self, template: str, language: str, *, vary: str = LANGUAGE_VARIES, **values: Any) -> Body:
        """Render a page.

        Args:
            vary: the request's headers that it depends on.
        """
        html = self.environments[language].get_template(template).render(values)
        return Body(html.encode(), "text/html; charset=utf-8", vary=vary)

    async def long_page(self, template: str, language: str, **values: Any) -> Body:
        """Render a page that may have hundreds of lines, and let the loop do other things in between."""
        parts: list[str] = []
        pause = time.monotonic() + PORTION
        for part in self.environments[language].get_template(template).generate(values):
            parts.append(part)
            if time.monotonic() > pause:
                await asyncio.sleep(0)
                pause = time.monotonic() + PORTION
        return Body("".join(parts).encode(), "text/html; charset=utf-8", vary=LANGUAGE_VARIES)
