"""Days that are not like others: public holidays, and closures that the space announced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property

import holidays
from babel.core import get_global

from bits.config import Closure


@dataclass(frozen=True)
class Calendar:
    """Which days are known exceptions.

    Args:
        country: ISO 3166 code; empty: no holidays.
        region: a subdivision, as the package `holidays` names them; empty: what holds in the whole country.
    """

    country: str = ""
    region: str = ""
    closures: tuple[Closure, ...] = ()

    @cached_property
    def _holidays(self) -> holidays.HolidayBase | None:
        if not self.country:
            return None
        return holidays.country_holidays(self.country, subdiv=self.region or None)

    def is_holiday(self, day: date) -> bool:
        return self._holidays is not None and day in self._holidays

    def closure(self, day: date) -> Closure | None:
        return next((closure for closure in self.closures if closure.first <= day <= closure.last), None)

    def is_closure(self, day: date) -> bool:
        return self.closure(day) is not None


def check(country: str, region: str) -> None:
    """Raises: ValueError: there is no such country or region."""
    try:
        holidays.country_holidays(country, subdiv=region or None)
    except NotImplementedError as error:
        raise ValueError(str(error)) from None


def calendar(country: str, region: str, zone: str, closures: tuple[Closure, ...]) -> Calendar:
    """Make the calendar that settings describe: no country means the time zone's, "none" means none."""
    return Calendar("" if country == "none" else country or country_of(zone), region, closures)


def country_of(zone: str) -> str:
    """Return the country that a time zone lies in; empty where it lies in none, or its holidays are not known."""
    country = str(get_global("zone_territories").get(zone, ""))
    try:
        check(country, "")
    except ValueError:
        return ""
    return country
