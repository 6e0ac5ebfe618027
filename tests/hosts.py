"""Hosts of the test's own on one machine: network namespaces, cables between them, and WireGuard through a cable.

The kernel of a build machine may have no WireGuard, so it runs as a program (wireguard-go), one a host.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until

NEEDED = ("ip", "wg", "wireguard-go")


def skip_without(*programs: str) -> None:
    """Skip the test, with a sentence, where hosts cannot be made here."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if missing := [name for name in programs if not shutil.which(name)]:
        pytest.skip(f"not on this machine: {', '.join(missing)}")


class Hosts:
    """Some hosts, by name; close() removes all of it again, whatever went wrong."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self._mark = secrets.token_hex(3)
        self.namespaces = {name: f"bits-{self._mark}-{name}" for name in names}
        self._made: list[str] = []
        self._processes: list[subprocess.Popen[Any]] = []
        self._cables = 0
        try:
            for name, namespace in self.namespaces.items():
                _run("ip", "netns", "add", namespace)
                self._made.append(namespace)
                self.run(name, "ip", "link", "set", "lo", "up")
        except RuntimeError as error:  # a container may be root and have no right to them
            self.close()
            pytest.skip(f"no network namespaces here: {error}")

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prefix(self, host: str) -> list[str]:
        """Return the words that run a command on a host."""
        return ["ip", "netns", "exec", self.namespaces[host]]

    def run(self, host: str, *command: str) -> str:
        return _run(*self.prefix(host), *command)

    def start(self, host: str, command: Sequence[str], **settings: Any) -> subprocess.Popen[Any]:
        """Start a program on a host; it is ended with the hosts, if not before."""
        process = subprocess.Popen([*self.prefix(host), *command], **settings)
        self._processes.append(process)
        return process

    def cable(self, first: tuple[str, str], second: tuple[str, str]) -> str:
        """Plug two hosts together, (host, address/prefix) each. Returns the name of the plug, the same on both."""
        self._cables += 1
        plug = f"cable{self._cables}"
        ours, theirs = (self.namespaces[host] for host, _ in (first, second))
        _run("ip", "link", "add", plug, "netns", ours, "type", "veth", "peer", "name", plug, "netns", theirs)
        for host, address in (first, second):
            self.run(host, "ip", "addr", "add", address, "dev", plug)
            self.run(host, "ip", "link", "set", plug, "up")
        return plug

    def plug(self, host: str, plug: str, state: str) -> None:
        """Pull a cable out of a host ("down"), or put it back ("up")."""
        self.run(host, "ip", "link", "set", plug, state)

    def tunnel(self, server: tuple[str, str, str], client: tuple[str, str, str]) -> None:
        """Lay a WireGuard tunnel, (host, its address on the cable, its address/prefix inside) each."""
        keys = {host: _run("wg", "genkey") for host, _, _ in (server, client)}
        for mine, other in ((server, client), (client, server)):
            host, _, inside = mine
            # The control sockets of all of them share one folder, namespaces or not.
            name = f"wg{self._mark}{list(self.namespaces).index(host)}"
            socket = Path(f"/var/run/wireguard/{name}.sock")
            log = (self.folder / f"wireguard-{host}.log").open("wb")
            with log:
                self.start(host, ["wireguard-go", "-f", name], stdout=log, stderr=log)
            wait_until(socket.exists, f"WireGuard on {host}")
            secret = self.folder / f"{host}.key"
            secret.write_text(keys[host])
            secret.chmod(0o600)
            public = _run("wg", "pubkey", stdin=keys[other[0]])
            self.run(
                host, "wg", "set", name, "private-key", str(secret), "listen-port", "51820",
                "peer", public, "allowed-ips", other[2].partition("/")[0] + "/32",
                "endpoint", f"{other[1]}:51820",
            )  # fmt: skip
            self.run(host, "ip", "addr", "add", inside, "dev", name)
            self.run(host, "ip", "link", "set", name, "up")

    def close(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.kill()
            process.wait()
        for namespace in self._made:
            subprocess.run(["ip", "netns", "del", namespace], check=False)
        self._made.clear()


def _run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()
