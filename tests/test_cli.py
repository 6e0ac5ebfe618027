"""The command line: what it prints, how it fails."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from websockets.asyncio.server import ServerConnection, serve

from bits import __version__
from bits.cli import bits
from bits.config import Config
from bits.errors import BitsError
from bits.send import parse, send
from bits.watch import describe, printable, watch
from tests.conftest import WAIT, Server, wait_until

Make = Callable[..., Server]


def test_help_names_every_command_and_its_options() -> None:
    runner = CliRunner()
    top = runner.invoke(bits, ["--help"]).output
    for command in ("serve", "init", "config", "send", "watch", "user"):
        assert command in top
    assert "--web-port N" in runner.invoke(bits, ["serve", "--help"]).output
    assert "add" in runner.invoke(bits, ["user", "--help"]).output
    assert __version__ in runner.invoke(bits, ["--version"]).output


def test_help_is_quick() -> None:
    """No command loads what it does not need: the help loads neither the server nor the database's driver."""
    code = "import sys; sys.argv = ['bits', '--help']\n"
    code += "try:\n from bits.cli import main; main()\nexcept SystemExit: pass\n"
    code += "print([name for name in ('sanic', 'alembic', 'babel', 'aiosqlite', 'websockets') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_config_shows_values_with_their_sources(tmp_path: Path) -> None:
    server = Server(tmp_path, cookie_secret="s" * 40, db_uri="postgresql://u:pppp@h/d")
    shown = json.loads(server.run("config", "--json", "--space-name", "Here").stdout)
    assert shown["space_name"] == {"value": "Here", "source": "--space-name"}
    assert shown["web_port"] == {"value": "0", "source": "BITS_WEB_PORT"}
    assert shown["control_host"] == {"value": "127.0.0.1", "source": "default"}
    plain = server.run("config").stdout
    assert "ssss" not in plain
    assert "pppp" not in plain
    assert re.search(r"^cookie_secret +\(set\) +BITS_COOKIE_SECRET$", plain, re.MULTILINE)


def test_errors_are_a_sentence_and_an_exit_code(tmp_path: Path) -> None:
    server = Server(tmp_path)
    unknown = server.run("frobnicate")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "No such command" in unknown.stderr
    bad = server.run("config", "--web-port", "x")
    assert (bad.returncode, bad.stderr) == (1, "bits: --web-port: expected a whole number from 0 to 65535, not 'x'\n")


# --- send


def test_what_is_sent_is_stored_when_it_says_so(server: Server) -> None:
    for words in (
        ["status", "open"],
        ["temperature", "0", "-3.25"],
        ["message", "Ciao", "a tutti ☕"],
        ["enter", "42"],
        ["sound", "3"],
        ["status", "1"],
    ):
        sent = server.run("send", *words)
        assert (sent.returncode, sent.stdout, sent.stderr) == (0, "stored\n", "")
    data = server.json("/data")
    assert data["status"]["value"] == "open"
    assert data["tempint"]["value"] == -3.25
    assert data["message"]["value"] == "Ciao a tutti ☕"
    assert data["people"] == {"count": 1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "unknown command 'frobnicate': expected one of status, temperature"),
        (["status"], "expected: bits send status open|closed"),
        (["status", "away"], "set away on the members' page"),
        (["status", "2"], "bits send status open|closed: "),
        (["temperature", "0", "warm"], "bits send temperature SENSOR DEGREES: "),
        (["temperature", "300", "20"], "bits send temperature SENSOR DEGREES: "),
        (["message", "x" * 4000], "bits send message TEXT: "),
    ],
)
def test_what_cannot_be_said_is_refused_before_it_is_sent(words: list[str], said: str) -> None:
    with pytest.raises(BitsError) as refusal:
        parse(words)
    assert said in str(refusal.value)


def test_sending_without_a_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    sent = Server(tmp_path, control_port=port).run("send", "status", "1")
    assert sent.returncode == 1
    assert sent.stderr == f"bits: no server at 127.0.0.1:{port}: Connection refused; is `bits serve` running?\n"


def test_sending_where_one_may_not(make_server: Make) -> None:
    sent = make_server(control_allow="10.0.0.0/8").run("send", "status", "1")
    assert sent.returncode == 1
    assert "is this address in control_allow?" in sent.stderr


def test_sending_to_what_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bits.send.PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        config = Config(control_port=mute.getsockname()[1])
        with pytest.raises(BitsError, match="did not answer within"):
            send(config, parse(["status", "1"]))
        talker = threading.Thread(target=_talk, args=(mute,))
        talker.start()
        with pytest.raises(BitsError, match="did not answer within"):
            send(config, parse(["status", "1"]))
        talker.join(5)
    sent = Server(tmp_path, control_host="x" * 300).run("send", "status", "1")
    assert sent.returncode == 1
    assert sent.stderr.endswith("that is not the name of a host (control_host)\n")
    assert "Traceback" not in sent.stderr


def _talk(listener: socket.socket) -> None:
    listener.accept()[0].close()  # the one that has given up
    link, _ = listener.accept()
    with link:
        try:
            while True:
                link.sendall(b"pong other\n" * 100)
        except OSError:
            return


# --- watch


class Watching:
    def __init__(self, server: Server, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bits", "watch", *arguments],
            # Into a pipe, as people use it: each line has to come at once without Python's own help.
            env={name: value for name, value in server.environment.items() if name != "PYTHONUNBUFFERED"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=WAIT)
        self.reader.join(5)
        return self.process.returncode, errors


def test_watching_a_space_through_a_restart(make_server: Make) -> None:
    server = make_server()
    watching = Watching(server)
    wait_until(lambda: watching.lines, "the first line")
    server.say("status 1", "temperature 0 21.5", "message Q2lhbxtbMm0=")
    wait_until(lambda: len(watching.lines) >= 4, "the news")
    server.stop()
    server.start()
    server.say("status 0")
    wait_until(lambda: any("closed (BITS)" in line for line in watching.lines), "news after the restart")
    code, errors = watching.stop()
    assert code == 130
    assert "Traceback" not in errors
    text = "\n".join(watching.lines)
    assert re.search(r"^\d\d:\d\d open \(BITS\)$", text, re.MULTILINE)
    assert "21.5 °C (sensor 0)" in text
    assert "BITS: Ciao�[2m" in text  # the escape character is made harmless


def test_watching_as_json(server: Server) -> None:
    watching = Watching(server, "--json", "--url", server.url)
    wait_until(lambda: watching.lines, "the snapshot")
    server.say("status 1")
    wait_until(lambda: any('"open"' in line for line in watching.lines), "the status")
    watching.stop()
    assert all(isinstance(json.loads(line)["seq"], int) for line in watching.lines)


def test_watching_what_is_no_space(server: Server, tmp_path: Path) -> None:
    for url, said in (
        (server.url + "/nope", "is not the live stream of a BITS server"),
        ("http://127.0.0.1:99999", "99999"),
        ("gopher://x", "expected an address that begins with http:// or https://"),
    ):
        run = server.run("watch", "--url", url)
        assert run.returncode == 1
        assert said in run.stderr
        assert "Traceback" not in run.stderr
    run = Server(tmp_path, web_usocket="/run/bits.sock").run("watch")
    assert (run.returncode, run.stderr) == (
        1,
        "bits: the server listens on /run/bits.sock: name the space's page with --url\n",
    )


def test_watching_ends_quietly_when_nobody_reads(server: Server) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "bits", "watch"],
        env=server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout
        assert watching.stderr
        server.say("status 1")
        watching.stdout.readline()
        watching.stdout.close()
        server.say("status 0", "status 1")
        assert watching.wait(10) == 1
        assert watching.stderr.read() == ""
        watching.stderr.close()
    finally:
        watching.kill()


async def _frames(*frames: str, as_json: bool = False) -> list[str]:
    """What is shown of a server that sends these and then something that ends the watch."""

    async def speak(link: ServerConnection) -> None:
        for frame in frames:
            await link.send(frame)
        await link.send("[]")
        await link.wait_closed()

    shown: list[str] = []
    async with serve(speak, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(BitsError, match="does not speak like a BITS server"):
            await asyncio.wait_for(watch(f"ws://127.0.0.1:{port}/ws", as_json=as_json, show=shown.append), 10)
    return shown


async def test_a_frame_cannot_command_the_terminal_nor_break_the_watch() -> None:
    hostile = {"timestamp": 10**30, "user": "a\x9b2J", "value": "b\u202ec\x7f\ud800 è ☕"}
    frame = json.dumps({"seq": 1, "message": hostile})
    assert await _frames(frame) == ["--:-- a�2J: b�c�� è ☕"]
    [line] = await _frames(frame, as_json=True)
    assert line.isprintable()
    assert "è ☕" in line
    assert json.loads(line) == json.loads(frame)
    for broken in ('{"seq": 1, "tempint": {"timestamp": 1, "value": "x", "sensor": 0}}', '{"seq": 1, "status": "x"}'):
        assert await _frames(broken) == []


async def test_watching_comes_back_from_where_it_was() -> None:
    asked: list[str] = []

    async def speak(link: ServerConnection) -> None:
        assert link.request
        asked.append(link.request.path)
        if len(asked) == 3:
            await link.send("no frame")
        elif len(asked) == 1:
            await link.send('{"seq": 7, "people": {"count": 1}}')

    shown: list[str] = []
    async with serve(speak, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(BitsError, match="does not speak"):
            await asyncio.wait_for(watch(f"ws://127.0.0.1:{port}/ws", as_json=False, show=shown.append), 15)
    assert asked == ["/ws", "/ws?since=7", "/ws?since=7"]
    assert shown == ["      1 present"]


def test_words_for_frames() -> None:
    assert list(describe({"seq": 1, "people": {"count": 3}})) == ["      3 present"]
    assert list(describe({"seq": 1, "stale": True})) == ["the board was never heard"]
    assert printable("a\x1b[31mb\u202ec") == "a�[31mb�c"


# --- developer mode


def test_in_developer_mode_the_server_starts_anew_when_the_code_changes(make_server: Make) -> None:
    server = make_server(developer_mode="true")
    server.stop()
    server.start()  # on the ports it got: with "any free one" it would come back elsewhere
    assert "data-developer" in server.get("/")[2].decode()
    import bits.web.reload

    os.utime(bits.web.reload.__file__)
    wait_until(lambda: "starting anew: reload.py changed" in server.errors, "the restart")
    assert server.process.stdout
    assert server.process.stdout.readline().startswith("try:")
    assert server.process.stdout.readline().startswith("ready")
    assert server.get("/healthz")[0] == 200
