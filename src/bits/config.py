"""The configuration: one frozen object, and where each of its values came from.

Sources, each overriding the ones before: the defaults below, `/etc/bits.toml` or the file given with `--config`,
environment variables (`BITS_` and the key in upper case), flags (`--` and the key with dashes). A field is declared
once; its TOML check, its variable, its flag, its line in `bits config` and in docs/configuration.md come from that.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bits.errors import BitsError

DEFAULT_FILE = Path("/etc/bits.toml")
PREFIX = "BITS_"
NOT_OURS = {"BITS_TRACE"}  # the switch of setup.py
SECRET_LENGTH = 32
KEY_LENGTH = 16
BRIDGE_NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")

Networks = tuple[IPv4Network | IPv6Network, ...]


class Closure(NamedTuple):
    """A stretch of days, both ends included."""

    first: date
    last: date
    reason: str = ""


class Link(NamedTuple):
    label: str
    href: str


# --- how a value is read: from text (variables, flags) and from TOML. Each raises ValueError.


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value.

    Args:
        expected: completes "expected …" in an error.
        parse: from text, or from what TOML gives.
        show: to text, for people.
    """

    expected: str
    parse: Callable[[Any], Any]
    show: Callable[[Any], str] = str


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def text(expected: str = "text") -> Kind:
    return Kind(expected, _text)


def number(low: int, high: int) -> Kind:
    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, str)) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    return Kind(f"a whole number from {low} to {high}", parse)


def seconds(low: float, high: float) -> Kind:
    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not low <= float(value) <= high:
            raise ValueError
        return float(value)

    return Kind(f"seconds from {low:g} to {high:g}", parse, lambda value: f"{value:.12g}")


def degrees(most: int) -> Kind:
    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not -most <= float(value) <= most:
            raise ValueError
        return float(value)

    return Kind(f"degrees from -{most} to {most}", parse, lambda value: f"{value:.12g}")


def switch() -> Kind:
    words = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }

    def parse(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        try:
            return words[_text(value).lower()]
        except KeyError:
            raise ValueError from None

    return Kind("true or false", parse, lambda value: "true" if value else "false")


def mode() -> Kind:
    def parse(value: Any) -> int:
        bits = int(_text(value), 8)  # in TOML too it is text, "0660": a bare 660 would mean something else
        if not 0 <= bits <= 0o777:
            raise ValueError
        return bits

    return Kind('permissions in octal, like "0660"', parse, lambda value: f"{value:04o}")


def path() -> Kind:
    def parse(value: Any) -> Path:
        if not _text(value):
            raise ValueError
        return Path(value)

    return Kind("a path", parse)


def optional(kind: Kind) -> Kind:
    """An empty text means none."""
    return Kind(
        kind.expected,
        lambda value: None if value == "" else kind.parse(value),
        lambda value: "" if value is None else kind.show(value),
    )


def zone() -> Kind:
    def parse(value: Any) -> ZoneInfo:
        try:
            return ZoneInfo(_text(value))
        except (OSError, KeyError):  # KeyError is ZoneInfoNotFoundError's base
            raise ValueError from None

    return Kind('an IANA time zone, like "Europe/Rome"', parse)


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    if not isinstance(value, list):
        raise ValueError
    return value


def networks() -> Kind:
    return Kind(
        'addresses or networks, like ["10.8.0.0/24", "::1"]',
        lambda value: tuple(ip_network(_text(item)) for item in _items(value)),
        lambda value: ", ".join(map(str, value)),
    )


def _href(value: Any) -> str:
    if not _text(value).startswith(("http://", "https://", "/", "mailto:")):
        raise ValueError
    return str(value)


def _origin(value: Any) -> str:
    if value and not re.fullmatch(r"https?://[^/?#\s]+/?", _text(value)):
        raise ValueError
    return str(value).rstrip("/")


def href() -> Kind:
    return Kind("an address that begins with http://, https:// or /", _href)


def links() -> Kind:
    def one(item: Any) -> Link:
        if isinstance(item, str):
            label, equals, address = item.partition("=")
            if not equals:
                raise ValueError
            return Link(label.strip(), _href(address.strip()))
        if not isinstance(item, dict) or set(item) != {"label", "href"}:
            raise ValueError
        return Link(_text(item["label"]), _href(item["href"]))

    return Kind(
        'links, like ["Wiki=https://example.org/wiki"]',
        lambda value: tuple(one(item) for item in _items(value)),
        lambda value: ", ".join(f"{link.label}={link.href}" for link in value),
    )


def names() -> Kind:
    def parse(value: Any) -> dict[int, str]:
        if not isinstance(value, dict):
            value = dict(item.split("=", 1) for item in _items(value))
        named = {int(key): _text(name).strip() for key, name in value.items()}
        if not all(0 <= key <= 255 for key in named):
            raise ValueError
        return named

    return Kind(
        'names by sensor number (0 to 255), like "0=Lab, 1=Roof"',
        parse,
        lambda value: ", ".join(f"{key}={name}" for key, name in sorted(value.items())),
    )


CONTACTS = (
    *("email", "ml", "issue_mail", "phone", "sip", "irc", "xmpp", "matrix", "mumble", "mastodon", "gopher"),
    *("twitter", "facebook", "identica", "foursquare"),
)


def contacts() -> Kind:
    def parse(value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            pairs = [item.partition("=") for item in _items(value)]
            value = {name.strip(): address.strip() for name, _, address in pairs}
        for name, address in value.items():
            if name not in CONTACTS or not _text(address):
                raise ValueError
        return dict(value)

    return Kind(
        f'contacts, like "email=space@example.org, irc=irc://example.org/#space", of {", ".join(CONTACTS)}',
        parse,
        lambda value: ", ".join(f"{name}={address}" for name, address in value.items()),
    )


def keys() -> Kind:
    def parse(value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            pairs = [item.partition("=") for item in _items(value)]
            value = {name.strip(): key.strip() for name, _, key in pairs}
        for name, key in value.items():
            # What the miniprotocol allows as a name, and as a key what has the UTF-8 that proofs are made of.
            if not BRIDGE_NAME.fullmatch(name) or len(_text(key)) < KEY_LENGTH or not key.encode():
                raise ValueError
        return dict(value)

    return Kind(
        f'keys of at least {KEY_LENGTH} characters by bridge, like "attic=KEY, cellar=KEY"',
        parse,
        lambda value: ", ".join(f"{name}=(set)" for name in sorted(value)),
    )


def closures() -> Kind:
    def one(item: Any) -> Closure:
        days, _, reason = _text(item).strip().partition(" ")
        first, dots, last = days.partition("..")
        closure = Closure(date.fromisoformat(first), date.fromisoformat(last if dots else first), reason.strip())
        if closure.last < closure.first:
            raise ValueError
        return closure

    def show(closure: Closure) -> str:
        return f"{closure.first}..{closure.last} {closure.reason}".rstrip()

    return Kind(
        'days, like ["2026-12-24..2027-01-06 Christmas", "2027-05-01"]',
        lambda value: tuple(one(item) for item in _items(value)),
        lambda value: ", ".join(map(show, value)),
    )


def one_of(*words: str) -> Kind:
    def parse(value: Any) -> str:
        if _text(value) not in words:
            raise ValueError
        return str(value)

    return Kind(" or ".join(words), parse)


def secret() -> Kind:
    def parse(value: Any) -> str:
        if len(_text(value)) < SECRET_LENGTH:
            raise ValueError
        return str(value)

    return Kind(f"at least {SECRET_LENGTH} characters, like the output of `openssl rand -hex 32`", parse)


def database() -> Kind:
    def parse(value: Any) -> str:
        try:
            url = make_url(_text(value))
        except ArgumentError:
            raise ValueError from None
        if url.drivername not in ("sqlite", "postgresql") or (url.drivername == "sqlite" and not url.database):
            raise ValueError
        return str(value)

    def show(value: str) -> str:
        url = make_url(value)
        if "password" in url.query:  # libpq and asyncpg take it there too
            url = url.update_query_dict({"password": "hidden"})
        return url.render_as_string(hide_password=True)

    return Kind("sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME", parse, show)


def _field(default: Any, kind: Kind, doc: str, *, hidden: bool = False) -> Any:
    metadata = {"kind": kind, "doc": doc, "hidden": hidden}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set. Relative paths are relative to the directory the program is started in."""

    # Browsers and machines
    web_host: str = _field("127.0.0.1", text("a host name or address"), "Address to serve HTTP on.")
    web_port: int = _field(8008, number(0, 65535), "Port to serve HTTP on; 0: any free one.")
    web_usocket: Path | None = _field(None, optional(path()), "Unix socket to serve HTTP on instead.")
    web_usocket_uid: int | None = _field(None, optional(number(0, 2**32 - 2)), "Owner of that socket, user id.")
    web_usocket_gid: int | None = _field(None, optional(number(0, 2**32 - 2)), "Group of that socket, group id.")
    web_usocket_mode: int = _field(0o660, mode(), "Permissions of that socket.")
    web_connections: int = _field(
        10_000, number(16, 10_000_000), "Ordinary connections at once, at most: waiting, and being answered."
    )
    public_url: str = _field(
        "", Kind("an address that begins with http:// or https://", _origin), "Where browsers reach this server."
    )
    web_offline: bool = _field(
        True, switch(), "Browsers keep the homepage for when they are offline; false: they forget it."
    )
    trusted_proxies: Networks = _field(
        (), networks(), "Reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    # Bridges
    control_host: str = _field(
        "127.0.0.1", text("a host name or address"), "Private address for bridges (miniprotocol)."
    )
    control_port: int = _field(8888, number(0, 65535), "Port for bridges; 0: any free one.")
    control_usocket: Path | None = _field(None, optional(path()), "Unix socket for bridges instead.")
    control_usocket_uid: int | None = _field(None, optional(number(0, 2**32 - 2)), "Owner of that socket, user id.")
    control_usocket_gid: int | None = _field(None, optional(number(0, 2**32 - 2)), "Group of that socket, group id.")
    control_usocket_mode: int = _field(0o660, mode(), "Permissions of that socket.")
    control_allow: Networks = _field(
        (ip_network("127.0.0.0/8"), ip_network("::1/128")), networks(), "Where bridges may connect from."
    )
    control_connections: int = _field(64, number(1, 100_000), "Bridges connected at once, at most.")
    bridge_keys: Mapping[str, str] = _field(
        {}, keys(), "Keys shared with bridges that number what they send, by name.", hidden=True
    )
    bridge_ping: float = _field(
        20.0,
        seconds(0, 86400),
        "Silence after which such a bridge is pinged; dropped after three times that; 0: never.",
    )
    stale_after: float = _field(
        900.0, seconds(0, 10**8), "Silence of all bridges after which the state is called stale; 0: never."
    )
    # The log
    db_uri: str = _field("sqlite:///bits.db", database(), "Database.")
    db_recycle: float = _field(3600.0, seconds(1, 10**8), "Age at which a database connection is replaced.")
    workers: int = _field(1, number(1, 1024), "Server processes; more than one needs PostgreSQL.")
    # Members
    cookie_secret: str | None = _field(
        None,
        optional(secret()),
        "Signs the members' cookies; unset: a new one at each start, so that members are signed out.",
        hidden=True,
    )
    cookie_age: float = _field(30 * 86400.0, seconds(60, 10**9), "How long members stay signed in.")
    # Who is there
    mac_key: str | None = _field(
        None,
        optional(secret()),
        "Makes the digests of devices, the same as the router's; unset: no MAC address can be typed, no link is good.",
        hidden=True,
    )
    mac_password: str | None = _field(
        None, optional(secret()), "The router's password for /macupdate; unset: no lists are taken.", hidden=True
    )
    mac_opens: bool = _field(True, switch(), "Open when a member's registered device has arrived.")
    mac_closes: bool = _field(True, switch(), "Close when the last registered device has left and nobody is in.")
    button_wins: float = _field(
        1800.0, seconds(0, 10**8), "For so long after a status set by hand, none is deduced from devices."
    )
    auto_close_after: float = _field(
        0.0, seconds(0, 10**8), "Close when nobody has given a sign for so long; 0: never."
    )
    auto_close_warning: float = _field(900.0, seconds(0, 10**8), "So long before that, everybody is told.")
    # The space
    space_name: str = _field("BITS", text(), "Name of the space.")
    space_logo: str = _field("", Kind(href().expected, lambda v: v and _href(v)), "Address of its logo.")
    space_place: str = _field("", text(), "Where it is, for people.")
    space_url: str = _field("", Kind(href().expected, lambda v: v and _href(v)), "Address of its own site.")
    space_links: tuple[Link, ...] = _field((), links(), "Links at the foot of each page.")
    space_latitude: float | None = _field(None, optional(degrees(90)), "Where it is, for the SpaceAPI: north.")
    space_longitude: float | None = _field(None, optional(degrees(180)), "Where it is, for the SpaceAPI: east.")
    space_contact: Mapping[str, str] = _field({}, contacts(), "How to reach it, for the SpaceAPI.")
    sensor_names: Mapping[int, str] = _field({}, names(), "What the sensors are called.")
    time_zone: ZoneInfo = _field(ZoneInfo("UTC"), zone(), "Time zone of the space.")
    # Pages
    pages_dir: Path | None = _field(None, optional(path()), "Folder of the wiki's first pages (info.md).")
    markdown_escape: bool = _field(True, switch(), "Show raw HTML in markdown as text; else keep what is harmless.")
    login_rate: int = _field(
        20,
        number(0, 100_000),
        "Passwords tried a minute from one address, and twenty times as many for one name; 0: any number.",
    )
    # The API
    api_rate: int = _field(60, number(0, 100_000), "Requests a minute that a token may write; 0: any number.")
    # Push
    push_clients: int = _field(10_000, number(1, 10_000_000), "Live connections at once, at most.")
    push_stall: float = _field(30.0, seconds(1, 86400), "A live client that takes nothing for so long is cut off.")
    push_backlog: int = _field(
        1 << 20, number(1024, 1 << 30), "A live client that has missed so many bytes is cut off."
    )
    push_ping: float = _field(
        30.0, seconds(0, 86400), "Silence after which a live client is pinged, and again dropped; 0: never."
    )
    push_threads: int = _field(0, number(0, 64), "Threads that push; 0: one a core, at most 4.")
    # Forecast
    away_counts_as: str = _field("closed", one_of("closed", "open", "unknown"), 'What "away" means to the forecast.')
    holidays_country: str = _field(
        "", text(), 'Whose public holidays hold, like "IT"; empty: the time zone\'s country; "none": nobody\'s.'
    )
    holidays_region: str = _field("", text(), 'Region with holidays of its own, like "BZ".')
    closures: tuple[Closure, ...] = _field((), closures(), "Days on which the space is closed, and why.")
    # Operating
    log_queries: bool = _field(False, switch(), "Log every database query.")
    log_requests: bool = _field(False, switch(), "Log every HTTP request.")
    developer_mode: bool = _field(
        False, switch(), "Restart when the code changes; verbose logs here and in the browser's console."
    )


FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def kind_of(key: str) -> Kind:
    kind: Kind = FIELDS[key].metadata["kind"]
    return kind


def default_of(key: str) -> Any:
    return getattr(Config(), key)


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration, and the source of each value: "default", a file, a variable or a flag."""

    config: Config
    sources: Mapping[str, str]

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (key, value, source) for people: secrets and passwords are hidden."""
        return [(key, shown(key, getattr(self.config, key)), self.sources[key]) for key in FIELDS]


def shown(key: str, value: Any) -> str:
    if FIELDS[key].metadata["hidden"]:
        return "(set)" if value else "(not set)"
    return kind_of(key).show(value)


def _did_you_mean(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _read(key: str, value: Any, where: str) -> Any:
    kind = kind_of(key)
    try:
        return kind.parse(value)
    except (ValueError, TypeError, AttributeError, OverflowError):
        given = "" if FIELDS[key].metadata["hidden"] or key == "db_uri" else f" not {value!r}"
        raise BitsError(f"{where}: expected {kind.expected},{given}".rstrip(",")) from None


def _from_file(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise BitsError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BitsError(f"{file}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise BitsError(f"{file}: is not valid TOML: {error}") from None


def load(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Put the configuration together.

    Args:
        file: given by the user; it must exist. None: the default file, if it exists.
        environ: the environment's variables.
        flags: by key; None: not given.
    Raises:
        BitsError: an unknown key or a bad value; names the place, the key and what was expected.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(FIELDS, "default")
    if file or DEFAULT_FILE.exists():
        file = file or DEFAULT_FILE
        for key, value in _from_file(file).items():
            if key not in FIELDS:
                raise BitsError(f"{file}: unknown key {key!r}{_did_you_mean(key, list(FIELDS))}")
            values[key] = _read(key, value, f"{file}: {key}")
            sources[key] = str(file)
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in NOT_OURS:
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key not in FIELDS or variable != variable.upper():
            known = [PREFIX + name.upper() for name in FIELDS]
            raise BitsError(f"environment: unknown variable {variable}{_did_you_mean(variable, known)}")
        values[key] = _read(key, value, f"environment: {variable}")
        sources[key] = variable
    for key, given in flags.items():
        if given is not None:
            flag = flag_of(key)
            values[key] = _read(key, given, flag)
            sources[key] = flag
    config = Config(**values)
    _check(config, sources)
    return Settings(config, sources)


def flag_of(key: str) -> str:
    return "--" + key.replace("_", "-")


def _check(config: Config, sources: Mapping[str, str]) -> None:
    """Refuse what is right each by itself but not together."""
    if config.holidays_country != "none" and (config.holidays_country or config.holidays_region):
        from bits.forecast.days import check, country_of  # they know all holidays of the world, and take their time

        try:
            check(config.holidays_country or country_of(config.time_zone.key), config.holidays_region)
        except ValueError as error:
            raise BitsError(f"holidays_country, holidays_region: {error}") from None
    if (config.space_latitude is None) != (config.space_longitude is None):
        raise BitsError("space_latitude, space_longitude: expected both, or neither")
    if 0 < config.auto_close_after <= config.auto_close_warning:
        raise BitsError(
            f"auto_close_warning = {config.auto_close_warning:g} ({sources['auto_close_warning']}): the warning comes "
            f"before the closing; expected less than auto_close_after, {config.auto_close_after:g}"
        )
    if config.workers > 1:
        if config.db_uri.startswith("sqlite"):
            raise BitsError(
                f"workers = {config.workers} ({sources['workers']}): a SQLite log belongs to one process; "
                "use workers = 1, or a PostgreSQL db_uri"
            )
        if config.developer_mode:
            raise BitsError(
                f"workers = {config.workers} ({sources['workers']}): developer_mode watches one process; "
                "use workers = 1"
            )
