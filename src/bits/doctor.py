"""Whether this machine is up to what the settings ask of it, in one sentence a check."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import resource
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sqlalchemy.engine import make_url

from bits import limits
from bits.config import Config

Verdict = Literal["ok", "warning", "problem"]

# What the kernel needs of its own for one idle connection, measured: sockets, epoll, file.
KERNEL_BYTES = 5_000

# A connection with a message on its way holds a page of the kernel's buffers, an idle one none: measured.
PAGES_BUSY = 1

# What a process needs before it has a client, and for each.
PROCESS_BYTES = 80_000_000
CLIENT_BYTES = 128

# Clients that come back together after a restart wait in queues of the kernel's: its default is long enough for what
# is accepted meanwhile, but not where there are many.
STORM, GREAT_STORM, MANY = 4_096, 65_535, 50_000

COMPILED = ("_proto", "_ws", "_shard", "_hub", "_http", "_door", "_load")

Read = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Args:
        name: of the limit or part, as operators know it.
        sentence: what is, and where that is not enough, what is needed and how to get it.
    """

    name: str
    verdict: Verdict
    sentence: str


def read_file(path: str) -> str:
    """Return a file's text.

    Raises:
        OSError: it is not there.
    """
    return Path(path).read_text()


def examine(
    config: Config, read: Read = read_file, descriptors: tuple[int, int] | None = None, now: float | None = None
) -> list[Finding]:
    """Check the machine and the installation.

    Args:
        read: gives the text of a file below /proc.
        descriptors: soft and hard limit of open files; None: this process's own.
        now: seconds since 1970 UTC; None: the machine's clock.
    """
    _, hard = descriptors or resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        _descriptors(config, hard),
        *_kernel_limits(config, read),
        _buffers(config, read),
        _ports(config, read),
        _memory(config, read),
        _connection_tracking(config, read),
        _secret(config),
        _zone(config),
        _clock(time.time() if now is None else now),
        *_installation(),
    ]


def warnings(config: Config) -> list[str]:
    """Return what `serve` should say at start: what would fail under the configured load."""
    known_otherwise = {"net.ipv4.ip_local_port_range", "cookie_secret", "time_zone", "compiled modules", "front end"}
    return [
        f"{finding.name}: {finding.sentence}"
        for finding in examine(config)
        if finding.verdict != "ok" and finding.name not in known_otherwise
    ]


def needed(config: Config) -> int:
    """Return how many descriptors each process may come to need."""
    return config.push_clients + config.web_connections + config.control_connections + limits.RESERVE


def _descriptors(config: Config, hard: int) -> Finding:
    wanted = needed(config)
    name = "open files"
    if hard >= wanted:
        return Finding(name, "ok", f"{hard:,} a process, {wanted:,} may be needed")
    # Clients cannot all come: those beyond the limit are turned away.
    verdict: Verdict = "problem" if hard < config.push_clients + limits.RESERVE else "warning"
    return Finding(
        name,
        verdict,
        f"the limit is {hard:,} a process, and push_clients and web_connections may need {wanted:,}: set LimitNOFILE="
        f"{wanted} in the unit, or ulimit -Hn {wanted}, or lower the settings",
    )


def _numbers(read: Read, name: str) -> list[int]:
    """Return the numbers a sysctl holds; none if it cannot be read."""
    try:
        return [int(word) for word in read("/proc/sys/" + name.replace(".", "/")).split()]
    except (OSError, ValueError):
        return []


def _number(read: Read, name: str) -> int | None:
    return next(iter(_numbers(read, name)), None)


def _kernel_limits(config: Config, read: Read) -> list[Finding]:
    total = needed(config) * config.workers
    storm = GREAT_STORM if config.push_clients * config.workers >= MANY else STORM
    wanted = {
        "fs.nr_open": (needed(config), "the most that a limit of open files may be raised to"),
        "fs.file-max": (total, "open files of the whole machine"),
        "net.core.somaxconn": (storm, "clients that wait to be accepted when all come at once"),
        "net.ipv4.tcp_max_syn_backlog": (storm // 4, "clients that are just connecting when all come at once"),
    }
    findings = []
    for name, (least, what) in wanted.items():
        value = _number(read, name)
        if value is None:
            findings.append(Finding(name, "warning", f"cannot be read; it should be {least:,} at least: {what}"))
        elif value < least:
            findings.append(
                Finding(
                    name, "warning", f"is {value:,}, should be {least:,} at least ({what}): sysctl -w {name}={least}"
                )
            )
        else:
            findings.append(Finding(name, "ok", f"{value:,} ({what})"))
    return findings


def _buffers(config: Config, read: Read) -> Finding:
    name = "net.ipv4.tcp_mem"
    wanted = config.push_clients * config.workers * PAGES_BUSY
    match _numbers(read, name):
        case [_, pressure, _] if pressure >= wanted:
            return Finding(name, "ok", f"saves from {pressure:,} pages on, a message to all needs {wanted:,}")
        case [_, pressure, _]:
            return Finding(
                name,
                "warning",
                f"saves from {pressure:,} pages of TCP buffers on, a message to all needs {wanted:,}: "
                f'sysctl -w {name}="{wanted} {wanted * 3 // 2} {wanted * 2}"',
            )
    # Containers are not shown it: nothing to warn of at each start.
    return Finding(name, "ok", f"is the host's and cannot be read here; a message to all needs {wanted:,} pages")


def _ports(config: Config, read: Read) -> Finding:
    """Judge what concerns only who connects from this machine: a proxy before the server, or bits load."""
    name = "net.ipv4.ip_local_port_range"
    clients = config.push_clients * config.workers
    match _numbers(read, name):
        case [first, last] if config.web_usocket or last - first + 1 >= clients:
            return Finding(name, "ok", f"{last - first + 1:,} ports for what connects from here, from each address")
        case [first, last]:
            return Finding(
                name,
                "warning",
                f"a proxy on this machine, or bits load, can be {last - first + 1:,} of {clients:,} live clients from "
                f'one address: sysctl -w {name}="1024 65535", or more addresses, or web_usocket for the proxy',
            )
    return Finding(name, "warning", "cannot be read; it bounds what a proxy on this machine, or bits load, can reach")


def _memory(config: Config, read: Read) -> Finding:
    clients = config.push_clients * config.workers
    wanted = config.workers * PROCESS_BYTES + clients * (KERNEL_BYTES + CLIENT_BYTES)
    try:
        lines = dict(line.split(":", 1) for line in read("/proc/meminfo").splitlines() if ":" in line)
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return Finding("memory", "warning", f"cannot be read; {clients:,} live clients need {wanted / 1e6:,.0f} MB")
    sentence = f"{free / 1e6:,.0f} MB are free, {clients:,} live clients need {wanted / 1e6:,.0f} MB"
    if free >= wanted:
        return Finding("memory", "ok", sentence)
    return Finding("memory", "warning", f"{sentence}: lower push_clients, or add memory")


def _connection_tracking(config: Config, read: Read) -> Finding:
    name = "nf_conntrack_max"
    most = _number(read, "net.netfilter.nf_conntrack_max")
    wanted = 2 * (config.push_clients + config.web_connections) * config.workers
    if most is None:
        return Finding(name, "ok", "the firewall tracks no connections")
    if most >= wanted:
        return Finding(name, "ok", f"{most:,}")
    return Finding(
        name,
        "warning",
        f"the firewall tracks {most:,} connections at most, and drops what is beyond; {wanted:,} may be needed: "
        f"sysctl -w net.netfilter.nf_conntrack_max={wanted}",
    )


def _secret(config: Config) -> Finding:
    if config.cookie_secret:
        return Finding("cookie_secret", "ok", "is set")
    return Finding(
        "cookie_secret", "warning", "is not set: members are signed out at each restart; set it to openssl rand -hex 32"
    )


def _zone(config: Config) -> Finding:
    if config.time_zone.key != "UTC":
        return Finding("time_zone", "ok", config.time_zone.key)
    return Finding("time_zone", "warning", "is UTC, as nobody set it: times on the pages are those of no space")


def _clock(now: float) -> Finding:
    """Judge the clock by what it cannot say: boxes without a battery wake up in 1970, or when their image was made."""
    installed = Path(__file__).stat().st_mtime
    said = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC"
    if now >= installed:
        return Finding("clock", "ok", said)
    return Finding(
        "clock",
        "problem",
        f"says {said}, before this program was installed: have it set from the network (timedatectl set-ntp true)",
    )


def _installation() -> list[Finding]:
    findings = []
    missing = []
    for name in COMPILED:
        try:
            importlib.import_module(f"bits.{name}")
        except ImportError:
            missing.append(name)
    findings.append(
        Finding("compiled modules", "problem", f"{', '.join(missing)} cannot be loaded: run make build")
        if missing
        else Finding("compiled modules", "ok", "all there")
    )
    built = Path(__file__).parent / "web" / "static" / "manifest.json"
    findings.append(
        Finding("front end", "ok", "built")
        if built.exists()
        else Finding("front end", "problem", "is not built: run make build")
    )
    return findings


def ask_database(config: Config, seconds: float = 5.0) -> Finding:
    """Try to reach the database; nothing is made where there is none."""
    name = "database"
    try:
        if config.db_uri.startswith("sqlite"):
            file = Path(make_url(config.db_uri).database or "")
            if not file.exists() and file.parent.is_dir():
                return Finding(name, "ok", f"{file} is not there yet: bits serve, or bits init, makes it")
            with contextlib.closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master")
        else:
            asyncio.run(_connect(config.db_uri, seconds))
    except Exception as error:
        reason = str(error) or type(error).__name__
        return Finding(name, "problem", f"does not answer: {reason.splitlines()[0]}")
    return Finding(name, "ok", "answers")


async def _connect(uri: str, seconds: float) -> None:
    import asyncpg

    connection = await asyncpg.connect(uri, timeout=seconds)
    await connection.close()
