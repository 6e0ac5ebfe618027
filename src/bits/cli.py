"""The command `bits`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

import click

from bits import __version__
from bits.config import FIELDS, Settings, default_of, flag_of, kind_of, load, shown
from bits.errors import BitsError
from bits.listen import endpoint

# Heavy imports stand in the commands that need them, so that `bits --help` and `bits send` are quick.

Command = Callable[..., Any]


def configured(*keys: str) -> Callable[[Command], Command]:
    """Give a command --config and the settings that concern it; it gets the loaded Settings first."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(config_file: Path | None, **arguments: Any) -> Any:
            flags = {key: arguments.pop(key) for key in keys}
            return command(load(config_file, os.environ, flags), **arguments)

        for key in reversed(keys):
            field = FIELDS[key].metadata
            default = shown(key, default_of(key))
            doc = field["doc"] if field["hidden"] or not default else f"{field['doc']} [{default}]"
            run = click.option(flag_of(key), key, metavar=_metavar(key), help=doc)(run)
        return click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Read settings from this file instead of /etc/bits.toml.",
        )(run)

    return decorate


def _metavar(key: str) -> str:
    expected = kind_of(key).expected
    for word, metavar in (("whole number", "N"), ("seconds", "SECONDS"), ("path", "PATH"), ("true", "BOOL")):
        if word in expected:
            return metavar
    return "TEXT"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bits")
def bits() -> None:
    """Tell people, live, whether a space is open.

    Settings come from /etc/bits.toml (or --config FILE), then BITS_* variables, then flags; `bits config` shows
    them. Start with `bits serve`.
    """


@bits.command()
@configured(*FIELDS)
def serve(settings: Settings) -> None:
    """Run the server in the foreground; it logs to stderr."""
    # The server does sums of no size; threads for large ones would stand idle, in every worker.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from bits.web.app import serve

    serve(settings.config)


@bits.command()
@configured("db_uri", "pages_dir", "space_name")
def init(settings: Settings) -> None:
    """Create the database with its first pages, or bring it to this version's schema."""
    from bits.web.app import prepare

    click.echo(asyncio.run(prepare(settings.config)))


@bits.command()
@configured(*FIELDS)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def config(settings: Settings, as_json: bool) -> None:
    """Print the effective settings and where each came from."""
    rows = settings.rows()
    if as_json:
        click.echo(json.dumps({key: {"value": value, "source": source} for key, value, source in rows}, indent=2))
        return
    width = max(len(value) for _, value, _ in rows)
    for key, value, source in rows:
        click.echo(f"{key:22} {value:{min(width, 40)}} {source}")


@bits.command(context_settings={"ignore_unknown_options": True})  # a temperature may begin with a minus
@configured("control_host", "control_port", "control_usocket")
@click.argument("words", nargs=-1, required=True)
def send(settings: Settings, words: tuple[str, ...]) -> None:
    """Say something to the server as the board would, and wait until it is stored.

    \b
      bits send status open          (or 1; closed, or 0)
      bits send temperature 0 21.5   (sensor, °C)
      bits send message Ciao a tutti
      bits send enter 42             (keypad number; leave 42)
      bits send sound 3
    """
    from bits.send import parse, send

    send(settings.config, parse(words))
    click.echo("stored")


@bits.command()
@configured("web_host", "web_port")
@click.option("--url", metavar="URL", help="The space's page; default: the server these settings describe.")
@click.option("--json", "as_json", is_flag=True, help="Print the frames as they come.")
@click.option("--waybar", is_flag=True, help="Print what a desktop's bar reads (docs/clients.md).")
@click.option("--once", is_flag=True, help="Print what is true now, and end.")
def watch(settings: Settings, url: str | None, as_json: bool, waybar: bool, once: bool) -> None:
    """Follow a space: print every change as it happens.

    \b
      bits watch --url https://bits.example.org
      bits watch --once                     is it open?
    """
    from bits import watch as watching

    if as_json and waybar:
        raise click.UsageError("--json and --waybar: choose one")
    if not url and settings.config.web_usocket:
        raise BitsError(f"the server listens on {settings.config.web_usocket}: name the space's page with --url")
    page = url or f"http://{endpoint(settings.config.web_host, settings.config.web_port)}"
    if not page.startswith(("http://", "https://", "ws://", "wss://")):
        raise BitsError(f"{page}: expected an address that begins with http:// or https://")
    stream = "ws" + page.removeprefix("http") if page.startswith("http") else page
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    form = watching.as_json if as_json else watching.Bar() if waybar else watching.Lines(colour=colour)
    asyncio.run(watching.watch(stream.rstrip("/").removesuffix("/ws") + "/ws", form, once=once))


@bits.command()
@configured("db_uri", "time_zone", "stale_after", "away_counts_as", "holidays_country", "holidays_region", "closures")
@click.option("--score", is_flag=True, help="How good such forecasts have been, week by week, and against what.")
@click.option("--csv", "file", metavar="FILE", help="Rows of timestamp_utc,value instead of the log; - reads stdin.")
@click.option("--tz", metavar="ZONE", help="The same as --time-zone.")
@click.option("--palette", type=click.Choice(["blind", "classic"]), default="blind", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def forecast(settings: Settings, score: bool, file: str | None, tz: str | None, palette: str, as_json: bool) -> None:
    """Show when the space will probably be open, for each half hour of the coming week.

    \b
      bits forecast                                    by the space's own log
      bits forecast --score                            how far to trust it
      bits forecast --csv log.csv --tz Europe/Rome     by any record of openings and closings
    """
    from dataclasses import replace

    from bits import foretell
    from bits.forecast import figures

    config = settings.config
    if tz:
        try:
            config = replace(config, time_zone=kind_of("time_zone").parse(tz))
        except ValueError:
            raise BitsError(f"--tz: expected {kind_of('time_zone').expected}, not {tz!r}") from None
    outlook = foretell.foretell(config, file, score=score)
    if as_json:
        known = figures.score(outlook.score) if score else figures.week(outlook, config.time_zone)
        click.echo(json.dumps(known))
    elif score:
        click.echo(foretell.as_score(outlook))
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        click.echo(foretell.as_table(outlook, config.time_zone, palette=palette, colour=colour), color=colour)


@bits.command()
@configured(*FIELDS)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(settings: Settings, as_json: bool) -> None:
    """Check whether this machine is up to what the settings ask of it.

    Exit code 1 when something would not work; warnings leave it 0. What to do: docs/big-box.md.
    """
    from dataclasses import asdict

    from bits.doctor import ask_database, examine

    findings = [*examine(settings.config), ask_database(settings.config)]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.verdict:8} {finding.name}: {finding.sentence}")
    sys.exit(1 if any(finding.verdict == "problem" for finding in findings) else 0)


@bits.group()
def spaceapi() -> None:
    """Be found by directories, maps and apps of hackerspaces (https://spaceapi.io)."""


@spaceapi.command()
@configured(*FIELDS)
@click.argument("url", required=False)
def check(settings: Settings, url: str | None) -> None:
    """Check before you register: what these settings make, or the answer of an address.

    \b
      bits spaceapi check
      bits spaceapi check https://status.example.org/spaceapi.json

    Exit code 1 when the directory would refuse it; advice leaves it 0.
    """
    from bits import register

    if url and not url.startswith(("http://", "https://")):
        raise BitsError(f"{url}: expected an address that begins with http:// or https://")
    findings = list(register.endpoint(url) if url else register.settings(settings.config))
    for finding in findings:
        click.echo(f"{'refused' if finding.is_refused else 'advice':8} {finding.sentence}")
    refused = any(finding.is_refused for finding in findings)
    if not refused:
        click.echo("ok       the SpaceAPI's directory would take it")
    sys.exit(1 if refused else 0)


@bits.command("load")
@click.option("--clients", type=click.IntRange(1, 10_000_000), default=1000, show_default=True)
@click.option("--mix", default="ws", show_default=True, help="Shares of ws, sse, longpoll, poll: ws=70,sse=30.")
@click.option("--url", default="http://127.0.0.1:8008", show_default=True, help="The server's pages.")
@click.option("--control", metavar="HOST:PORT", help="Trigger broadcasts there; else watch what comes.")
@click.option("--broadcasts", type=click.IntRange(1, 10_000), default=10, show_default=True)
@click.option("--interval", type=click.FloatRange(0, 3600), default=0.5, show_default=True, help="Seconds between two.")
@click.option("--size", type=click.IntRange(32, 2000), default=120, show_default=True, help="Of their text, bytes.")
@click.option("--watch", type=click.FloatRange(0, 86400), default=10.0, show_default=True, help="Seconds to watch.")
@click.option("--hold", type=click.FloatRange(0, 86400), default=0.0, help="Seconds to keep idle clients before.")
@click.option("--ramp", type=click.FloatRange(0), default=0.0, help="Connects a second; 0: as fast as it goes.")
@click.option("--in-flight", type=click.IntRange(1), default=500, show_default=True, help="Connects under way at once.")
@click.option("--sources", default="", help="Addresses to connect from: 127.0.0.2-127.0.0.9.")
@click.option("--processes", type=click.IntRange(0, 1000), default=0, help="0: as few as the descriptors allow.")
@click.option("--timeout", type=click.FloatRange(0), default=10.0, show_default=True, help="For what has not come.")
@click.option(
    "--limit", type=click.FloatRange(1, 3600), default=300.0, show_default=True, help="For everything, seconds."
)
@click.option("--poll", type=click.FloatRange(0.1), default=5.0, show_default=True, help="A poller's interval.")
@click.option("--path", default="", help="Instead of /ws, /events, /data.")
@click.option("--host-header", default="", help="Instead of the url's.")
@click.option("--server-pid", "server_pids", type=int, multiple=True, help="Measure what this process uses.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write a report to this file.")
def load_(mix: str, control: str | None, sources: str, as_json: bool, page: Path | None, **given: Any) -> None:
    """Load a server with push clients, and measure what they get and when.

    \b
      bits load --clients 5000 --control 127.0.0.1:8888
      bits load --clients 2000 --mix ws=70,sse=20,longpoll=10 --watch 60 --html report.html

    Exit code 1 when a message was lost, doubled or out of order, or a client was refused or dropped.
    """
    from bits.load import Options, run
    from bits.load.options import parse_control, parse_mix, parse_sources
    from bits.load.progress import Progress

    if page and not page.parent.is_dir():
        raise BitsError(f"--html {page}: there is no such folder")
    options = Options(
        mix=parse_mix(mix),
        control=parse_control(control) if control else None,
        sources=parse_sources(sources),
        **given,
    )
    with Progress(sys.stderr) as progress:
        result = run(options, progress.show)
    click.echo(result.json() if as_json else result.text())
    if page:
        try:
            page.write_text(result.html(), "utf-8")
        except OSError as error:
            raise BitsError(f"--html {page}: {error.strerror}") from None
    sys.exit(0 if result.clean else 1)


# --- the wiki


@bits.group()
def wiki() -> None:
    """Move the wiki's pages as markdown files."""


FOLDER = click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))


@wiki.command("import")
@configured("db_uri")
@FOLDER
def import_(settings: Settings, folder: Path) -> None:
    """Store DIR/*.md as pages, and DIR/files/* as pictures; a page that is there gets a new revision."""
    from bits.web import folder as pages

    click.echo(_run(pages.import_(settings.config, folder)))


@wiki.command("export")
@configured("db_uri")
@FOLDER
def export(settings: Settings, folder: Path) -> None:
    """Write all pages as DIR/*.md, and all pictures into DIR/files."""
    from bits.web import folder as pages

    click.echo(_run(pages.export(settings.config, folder)))


# --- members


@bits.group()
def user() -> None:
    """Manage the members who may sign in."""


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


password_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
keypad = click.option(
    "--number", type=click.IntRange(0, 999_999), metavar="N", help="On the keypad; each has their own."
)


@user.command()
@configured("db_uri")
@click.argument("name")
@click.option("--admin", is_flag=True, help="May manage users and pages.")
@keypad
@password_stdin
def add(settings: Settings, name: str, admin: bool, number: int | None, password_stdin: bool) -> None:
    """Add a member; without --number they get the lowest that is free."""
    from bits.web import users

    users.check_name(name)
    _run(users.add(settings.config, name, _password(password_stdin), admin, number))
    click.echo(f"added {name}")


@user.command()
@configured("db_uri")
@click.argument("name")
def delete(settings: Settings, name: str) -> None:
    """Remove a member and their devices; what they wrote stays in the log."""
    from bits.web import users

    _run(users.delete(settings.config, name))
    click.echo(f"deleted {name}")


@user.command()
@configured("db_uri")
@click.argument("name")
@click.option("--admin/--no-admin", default=None, help="May manage users and pages.")
@click.option("--listed/--no-listed", default=None, help="Everybody may read the name while the member is in.")
@keypad
@click.option("--password", is_flag=True, help="Ask for a new password.")
@password_stdin
def modify(
    settings: Settings,
    name: str,
    admin: bool | None,
    listed: bool | None,
    number: int | None,
    password: bool,
    password_stdin: bool,
) -> None:
    """Change a member's password, rights or number, or whether everybody may read the name."""
    from bits.web import users

    new = _password(password_stdin) if password or password_stdin else None
    _run(users.modify(settings.config, name, new, admin, number, listed))
    click.echo(f"modified {name}")


@user.command("list")
@configured("db_uri")
def list_(settings: Settings) -> None:
    """List the members: name, rights, number on the keypad, since when."""
    from bits.web import users

    for member in _run(users.list_(settings.config)):
        click.echo(
            f"{member.name:30} {'admin' if member.admin else 'member':8} {member.number:6} {member.created:%Y-%m-%d}"
        )


# --- members' tokens


@bits.group()
def token() -> None:
    """See and revoke the tokens of members' programs; they make them at /tokens."""


@token.command("list")
@configured("db_uri")
@click.argument("name")
def list_tokens(settings: Settings, name: str) -> None:
    """List a member's tokens: id, what for, what each may do, when it was last used."""
    from bits import tokens
    from bits.web import users

    for one in _run(users.opened(settings.config, lambda engine: tokens.of_name(engine, name))):
        used = f"{one.used:%Y-%m-%d}" if one.used else "never"
        click.echo(f"{one.id:6} {one.label:30} {','.join(one.scopes):30} {used}")


@token.command()
@configured("db_uri")
@click.argument("name")
@click.argument("number", metavar="ID", type=click.IntRange(1, 2**31 - 1))
def revoke(settings: Settings, name: str, number: int) -> None:
    """Revoke one of a member's tokens, at once."""
    from bits import tokens
    from bits.web import users

    if not _run(users.opened(settings.config, lambda engine: tokens.revoke_of_name(engine, name, number))):
        raise BitsError(f"{name} has no token {number}")
    click.echo(f"revoked {number}")


def main() -> None:
    """Run `bits`: exit 0, or 1 with one sentence, or 2 where the command line is wrong."""
    try:
        bits(standalone_mode=False)
    except BitsError as error:
        click.echo(f"bits: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
