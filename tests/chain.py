"""The whole chain: the emulated board, the router's bridge, a VPN, the server, a visitor's browser, each on its host.

    board (QEMU) ── UART ── router ══ WireGuard ══ server ── cable ── visitor (Chromium)
                               │                      │
                               └─ the space's own ─ phone

The miniprotocol is bound to the server's address inside the VPN; visitors come from outside.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from bits_panel import CLICK, IMAGE, QEMU, Emulator

from tests.conftest import ROOT, Server, wait_until
from tests.hosts import NEEDED, Hosts, skip_without

KEY = "the key that attic and server share"
SECRET = "0123456789abcdef0123456789abcdef"
SETTINGS = """\
server = "10.8.0.1:{port}"
http = "10.8.0.1:8008"
bridge = "attic"
key = "{key}"
serial = "unix:{folder}/board"
spool = "{folder}/spool"
ping_interval = 2
backoff_max = 2
"""
LAN_SETTINGS = """\
mac_path = "miniprotocol"
mac_key = "{key}"
mac_interface = "{interface}"
mac_scan_interval = 1
mac_arrive_after = 3
mac_leave_after = 4
this_device_listen = "10.77.0.1:8080"
this_device_url = "http://192.0.2.193:8008"
"""
PHONE = "00:1b:63:84:45:e6"

# Notes when the status on the page changes, and to what.
WATCH = """
window.changes = [];
const shown = document.querySelector("#status");
new MutationObserver(() => window.changes.push([Date.now(), shown.textContent.trim()]))
    .observe(shown, {childList: true, characterData: true, subtree: true});
"""


class Chain:
    """All of it, started; close() ends all of it.

    Raises (as pytest's skip): not root, or a program is missing.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        skip_without(*NEEDED, QEMU, "arm-none-eabi-gcc")
        self.folder = folder
        subprocess.run(["make", "-s", "-C", ROOT / "firmware"], check=True, stdout=subprocess.DEVNULL)
        assert IMAGE.exists()
        with ExitStack() as ends:  # whatever was started ends, should something else not start
            self.hosts = ends.enter_context(Hosts(folder, "server", "router", "visitor", "phone"))
            self._start(ends, settings)
            self._ends = ends.pop_all()

    def _start(self, ends: ExitStack, settings: dict[str, str]) -> None:
        hosts = self.hosts
        self.cable = hosts.cable(("server", "192.0.2.1/25"), ("router", "192.0.2.2/25"))
        hosts.cable(("server", "192.0.2.129/26"), ("visitor", "192.0.2.130/26"))
        hosts.cable(("server", "192.0.2.193/26"), ("phone", "192.0.2.194/26"))
        self.lan = hosts.cable(("router", "10.77.0.1/24"), ("phone", "10.77.0.2/24"))
        hosts.run("phone", "ip", "link", "set", self.lan, "address", PHONE)
        hosts.tunnel(("server", "192.0.2.1", "10.8.0.1/24"), ("router", "192.0.2.2", "10.8.0.2/24"))
        # A visitor who knows the private address, and sends there all the same.
        hosts.run("visitor", "ip", "route", "add", "10.8.0.0/24", "via", "192.0.2.129")
        self.server = Server(
            self.folder,
            prefix=hosts.prefix("server"),
            web_host="0.0.0.0",
            web_port="8008",
            control_host="10.8.0.1",
            control_allow="10.8.0.0/24",
            bridge_keys=f"attic={KEY}",
            bridge_ping="2",
            cookie_secret=SECRET,
            mac_key=SECRET,
            **settings,
        ).start()
        ends.callback(self.server.stop)
        self.url = "http://192.0.2.129:8008/"
        self.board = ends.enter_context(Emulator(bridge_socket=self.folder / "board"))
        self.settings = self.folder / "bits-fonera.toml"
        self.settings.touch(0o600)
        self.settings.write_text(SETTINGS.format(port=self.server.control[1], key=KEY, folder=self.folder))
        with self.settings.open("a") as file:
            file.write(LAN_SETTINGS.format(key=SECRET, interface=self.lan))
        self.log = self.folder / "bits-fonera.log"
        self.start_bridge()

    def start_bridge(self) -> None:
        with self.log.open("ab") as log:
            self.bridge = self.hosts.start(
                "router",
                [sys.executable, "-m", "bits_fonera", "--foreground", "--config", str(self.settings)],
                env={**os.environ, "PYTHONPATH": str(ROOT / "fonera")},
                stderr=log,
            )

    def kill_bridge(self) -> None:
        self.bridge.send_signal(signal.SIGKILL)
        self.bridge.wait()

    def chromium(self, chromium: str, host: str = "visitor") -> Path:
        """Return a program that is Chromium on a host."""
        program = self.folder / f"chromium-{host}"
        program.write_text(f'#!/bin/sh\nexec {" ".join(self.hosts.prefix(host))} {chromium} "$@"\n')
        program.chmod(0o755)
        return program

    def statuses(self) -> list[tuple[int, float, str, str | None, int | None]]:
        """Return what the log has of the status: seq, seconds since 1970, value, bridge, number."""
        return self._query(
            "SELECT seq, (julianday(at) - 2440587.5) * 86400.0, text, bridge, number FROM event"
            " WHERE kind = 'status' ORDER BY seq"
        )

    def has(self, kind: str) -> bool:
        """Tell whether the log has a numbered event of a kind."""
        return bool(self._query("SELECT 1 FROM event WHERE bridge IS NOT NULL AND kind = ?", kind))

    def _query(self, query: str, *values: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "bits.db")) as database:
            return database.execute(query, values).fetchall()

    def metric(self, name: str) -> int:
        """Return a counter of the server's, as a visitor reads it."""
        code = f"import urllib.request as r; print(r.urlopen('{self.url}metrics', timeout=5).read().decode())"
        for line in self.hosts.run("visitor", sys.executable, "-c", code).splitlines():
            if line.startswith(f"bits_{name} "):
                return int(line.rpartition(" ")[2])
        return 0

    def in_reach(self) -> None:
        """Wait until the board shows that it is connected, through to the server."""
        self.board.wait(lambda: "link down" not in self.board.rows[3] and self.board.rows[0][-3] == ":", "a connection")

    def press(self) -> float:
        """Press the button. Returns when it was let go, which is when it counts; seconds since 1970."""
        board = self.board
        since = len(board.beeps)
        board.send("button 1")
        board.wait_beep(CLICK, since=since)
        now = time.time()
        board.send("button 0")
        board.wait(lambda: len(board.beeps) > since + 1, "the board's answer")
        return now

    def measure(self, page: Any, presses: int) -> list[float]:
        """Return how long each press took from the button to the page, in seconds. The page runs WATCH."""
        return [self._measure(page) for _ in range(presses)]

    def _measure(self, page: Any) -> float:
        seen = page.evaluate("window.changes.length")
        pressed = self.press()
        wait_until(lambda: page.evaluate("window.changes.length") > seen, "a change of the page")
        return float(page.evaluate(f"window.changes[{seen}][0]")) / 1000 - pressed

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._ends.close()


def percentile(values: list[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, round(share * (len(ranked) - 1)))]


def started(chain: Chain) -> Chain:
    """Wait until a press would go all the way."""
    chain.in_reach()
    wait_until(lambda: chain.metric("bridges_welcomed_total"), "a welcome")
    return chain
