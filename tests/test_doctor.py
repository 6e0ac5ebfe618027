"""What a machine lacks is told, in a sentence that says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bits.config import Config
from bits.doctor import Finding, ask_database, examine, needed, warnings
from tests.conftest import ROOT, Server

GOOD = {
    "/proc/sys/fs/nr_open": "1048576\n",
    "/proc/sys/fs/file-max": "9223372036854775807\n",
    "/proc/sys/net/core/somaxconn": "4096\n",
    "/proc/sys/net/ipv4/tcp_max_syn_backlog": "2048\n",
    "/proc/sys/net/ipv4/tcp_mem": "287898\t383866\t575796\n",
    "/proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
    "/proc/sys/net/netfilter/nf_conntrack_max": "262144\n",
    "/proc/meminfo": "MemTotal: 24000000 kB\nMemAvailable: 20000000 kB\n",
}
SET_UP = Config(cookie_secret="s" * 32, time_zone=ZoneInfo("Europe/Rome"))


def machine(changed: dict[str, str | None]) -> Callable[[str], str]:
    """A /proc of the test's own; None: the file is not there."""
    files = dict(GOOD)
    for path in GOOD:
        name = path.rpartition("/")[2].replace("-", "_")
        if name in changed:
            text = changed[name]
            del files[path]
            if text is not None:
                files[path] = text

    def read(path: str) -> str:
        try:
            return files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    return read


def found(
    config: Config = SET_UP, changed: dict[str, str | None] | None = None, descriptors: int = 100_000
) -> dict[str, Finding]:
    return {one.name: one for one in examine(config, machine(changed or {}), (1024, descriptors))}


def test_a_good_machine_is_good() -> None:
    assert {name: one.verdict for name, one in found().items()} == dict.fromkeys(found(), "ok")


def test_too_few_descriptors() -> None:
    wanted = needed(SET_UP)
    assert found(descriptors=wanted)["open files"].verdict == "ok"
    some = found(descriptors=wanted - 1)["open files"]
    assert some.verdict == "warning"
    assert f"LimitNOFILE={wanted}" in some.sentence
    assert found(descriptors=SET_UP.push_clients)["open files"].verdict == "problem"


@pytest.mark.parametrize(
    ("changed", "name", "says"),
    [
        ({"nr_open": "1024"}, "fs.nr_open", "sysctl -w fs.nr_open=20"),
        ({"file_max": "1024"}, "fs.file-max", "sysctl -w fs.file-max=20"),
        ({"somaxconn": "128"}, "net.core.somaxconn", "sysctl -w net.core.somaxconn=4096"),
        ({"somaxconn": None}, "net.core.somaxconn", "cannot be read"),
        ({"somaxconn": "many"}, "net.core.somaxconn", "cannot be read"),
        ({"tcp_max_syn_backlog": "128"}, "net.ipv4.tcp_max_syn_backlog", "sysctl -w"),
        ({"nf_conntrack_max": "4096"}, "nf_conntrack_max", "sysctl -w net.netfilter.nf_conntrack_max=40000"),
        ({"tcp_mem": "1000 9999 20000"}, "net.ipv4.tcp_mem", 'sysctl -w net.ipv4.tcp_mem="10000 15000 20000"'),
        ({"ip_local_port_range": "32768 42766"}, "net.ipv4.ip_local_port_range", "9,999 of 10,000"),
        ({"ip_local_port_range": None}, "net.ipv4.ip_local_port_range", "cannot be read"),
        ({"meminfo": "MemAvailable: 100000 kB"}, "memory", "lower push_clients"),
        ({"meminfo": "nonsense"}, "memory", "cannot be read"),
    ],
)
def test_what_is_too_little_is_told_with_the_command(changed: dict[str, str | None], name: str, says: str) -> None:
    finding = found(SET_UP, changed)[name]
    assert finding.verdict == "warning"
    assert says in finding.sentence
    others = {one.verdict for other, one in found(SET_UP, changed).items() if other != name}
    assert others == {"ok"}


def test_no_connection_tracking_is_fine() -> None:
    assert found(SET_UP, {"nf_conntrack_max": None})["nf_conntrack_max"].verdict == "ok"


def test_a_proxy_on_a_unix_socket_needs_no_ports() -> None:
    behind = replace(SET_UP, web_usocket=Path("/run/bits.sock"))
    assert found(behind, {"ip_local_port_range": "32768 32800"})["net.ipv4.ip_local_port_range"].verdict == "ok"


def test_a_clock_that_nobody_set() -> None:
    clocks = {year: examine(SET_UP, machine({}), (1024, 100_000), year * 31_556_952.0) for year in (0, 500)}
    verdicts = {year: [one.verdict for one in found_ if one.name == "clock"] for year, found_ in clocks.items()}
    assert verdicts == {0: ["problem"], 500: ["ok"]}
    assert "says 1970-01-01 00:00 UTC" in next(one.sentence for one in clocks[0] if one.name == "clock")


@pytest.mark.parametrize("text", [None, "1000", "many"])
def test_what_a_container_is_not_shown_is_no_warning(text: str | None) -> None:
    finding = found(SET_UP, {"tcp_mem": text})["net.ipv4.tcp_mem"]
    assert (finding.verdict, "10,000 pages" in finding.sentence) == ("ok", True)


def test_workers_count() -> None:
    many = Config(cookie_secret="s" * 32, push_clients=1_000_000, workers=50, db_uri="postgresql:///bits")
    assert found(many)["memory"].verdict == "warning"
    assert "50,000,000 live clients" in found(many)["memory"].sentence


def test_many_clients_need_longer_queues() -> None:
    many = Config(cookie_secret="s" * 32, time_zone=ZoneInfo("Europe/Rome"), push_clients=60_000)
    assert "net.core.somaxconn=65535" in found(many)["net.core.somaxconn"].sentence


def test_what_nobody_set() -> None:
    bare = found(Config())
    assert (bare["cookie_secret"].verdict, bare["time_zone"].verdict) == ("warning", "warning")


def test_the_database_is_asked(tmp_path: Path) -> None:
    new = ask_database(Config(db_uri=f"sqlite:///{tmp_path}/new.db"))
    assert (new.verdict, "not there yet" in new.sentence) == ("ok", True)
    assert not (tmp_path / "new.db").exists()
    (tmp_path / "text.db").write_text("this is no database at all" * 100)
    text = ask_database(Config(db_uri=f"sqlite:///{tmp_path}/text.db"))
    assert (text.verdict, "not a database" in text.sentence) == ("problem", True)
    away = ask_database(Config(db_uri=f"sqlite:///{tmp_path}/missing/new.db"))
    assert away.verdict == "problem"
    assert "unable to open" in away.sentence


def test_on_this_machine(server: Server) -> None:
    done = server.run("doctor", "--json")
    findings = json.loads(done.stdout)
    assert {one["verdict"] for one in findings} <= {"ok", "warning", "problem"}
    assert done.returncode == any(one["verdict"] == "problem" for one in findings)
    shown = server.run("doctor")
    assert shown.stdout.count("\n") == len(findings)


def test_serve_warns_of_what_would_fail(make_server: Callable[..., Server]) -> None:
    server = make_server(push_clients="9000000")
    assert "open files: the limit is" in server.errors
    assert warnings(Config(push_clients=9_000_000))


def test_the_page_for_operators_names_every_limit() -> None:
    page = (ROOT / "docs" / "big-box.md").read_text()
    for finding in examine(SET_UP):
        if re.match(r"(fs|net)\.", finding.name) or finding.name == "nf_conntrack_max":
            assert finding.name in page, finding.name


def test_the_page_gives_what_its_own_example_asks_for() -> None:
    page = (ROOT / "docs" / "big-box.md").read_text()
    example = re.search(r"bits doctor --push-clients (\d+) --workers (\d+)", page)
    assert example
    config = replace(SET_UP, push_clients=int(example[1]), workers=int(example[2]), db_uri="postgresql:///bits")
    given = dict(re.findall(r"^    ([a-z0-9_.-]+) = ([0-9 ]+)$", page, re.MULTILINE))
    changed = {name.rpartition(".")[2].replace("-", "_"): numbers for name, numbers in given.items()}
    limit = re.search(r"LimitNOFILE=(\d+)", page)
    assert limit
    verdicts = {name: one.verdict for name, one in found(config, changed, int(limit[1])).items()}
    # More clients than an address has ports: what the page says to do is to use more addresses.
    assert verdicts.pop("net.ipv4.ip_local_port_range") == "warning"
    assert set(verdicts.values()) == {"ok"}, verdicts
