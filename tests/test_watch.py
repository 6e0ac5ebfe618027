"""`bits watch`: in a terminal, in a pipe, in a desktop's bar."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from bits.errors import BitsError
from bits.watch import Bar, Form, Frame, Lines, as_json, fold, printable, watch
from tests.conftest import ROOT, WAIT, Server, wait_until

Make = Callable[..., Server]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "stream.json").read_text("utf-8"))


Follow = Callable[..., "Watching"]

# However long a server takes to come back, half a minute later is too late for a test.
IMPATIENT = "from bits import cli, watch; watch.RETRY_SECONDS = 0.5; cli.main()"


class Watching:
    def __init__(self, server: Server, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", IMPATIENT, "watch", *arguments],
            # Into a pipe, as people use it: each line has to come at once without Python's own help.
            env={name: value for name, value in server.environment.items() if name != "PYTHONUNBUFFERED"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
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


@pytest.fixture
def follow() -> Iterator[Callable[..., Watching]]:
    """Watch a server with some arguments, until the end of the test at most."""
    running: list[Watching] = []

    def begin(*arguments: Any) -> Watching:
        running.append(Watching(*arguments))
        return running[-1]

    yield begin
    for watching in running:
        watching.process.kill()
        watching.process.communicate()


def test_watching_a_space_through_a_restart(make_server: Make, follow: Follow) -> None:
    server = make_server()
    watching = follow(server)
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


def test_watching_as_json(server: Server, follow: Follow) -> None:
    watching = follow(server, "--json", "--url", server.url)
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


async def _frames(*frames: str, form: Form | None = None) -> list[str]:
    """What is shown of a server that sends these and then something that ends the watch."""

    async def speak(link: ServerConnection) -> None:
        for frame in frames:
            await link.send(frame)
        await link.send("[]")
        await link.wait_closed()

    shown: list[str] = []
    form = form or Lines()
    async with serve(speak, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(BitsError, match="does not speak like a BITS server"):
            await asyncio.wait_for(watch(f"ws://127.0.0.1:{port}/ws", form, show=shown.append), 10)
    return shown


async def test_a_frame_cannot_command_the_terminal_nor_break_the_watch() -> None:
    hostile = {"timestamp": 10**30, "user": "a\x9b2J", "value": "b\u202ec\x7f\ud800 è ☕"}
    frame = json.dumps({"seq": 1, "message": hostile})
    assert await _frames(frame) == ["--:-- a�2J: b�c�� è ☕"]
    [line] = await _frames(frame, form=as_json)
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
            await asyncio.wait_for(watch(f"ws://127.0.0.1:{port}/ws", Lines(), show=shown.append), 15)
    assert asked == ["/ws", "/ws?since=7", "/ws?since=7"]
    assert shown == ["      1 present"]


def test_words_for_frames() -> None:
    assert list(Lines()({"seq": 1, "people": {"count": 3}})) == ["      3 present"]
    assert list(Lines()({"seq": 1, "stale": True})) == ["the board was never heard"]
    assert printable("a\x1b[31mb\u202ec") == "a�[31mb�c"


NOW = int(time.time() * 1000)
OPEN = {"timestamp": NOW, "modifiedby": "web", "user": "anna", "value": "open", "note": "a <b>", "until": NOW}
LATER = {"id": 7, "value": 0, "begins": NOW, "ends": NOW + 3_600_000, "user": "anna", "note": "holiday"}
SNAPSHOT: Frame = {
    "version": 3,
    "seq": 4,
    "status": OPEN,
    "tempint": {"timestamp": NOW, "value": 21.5, "modifiedby": "BITS", "sensor": 0},
    "tempinthist": [],
    "sensors": [{"timestamp": NOW, "value": 21.5, "modifiedby": "BITS", "sensor": 0}],
    "people": {"count": 2, "names": ["anna"]},
    "message": {"timestamp": NOW, "user": "bruno", "value": "<b>\x1b&\n"},
    "announced": [LATER, LATER | {"id": 6, "ends": 1000}],
    "heard": NOW,
    "stale": False,
}


def test_a_line_for_each_change_and_none_twice() -> None:
    lines = Lines()
    clock = f"{datetime.fromtimestamp(NOW / 1000):%H:%M}"
    hour_later = f"{datetime.fromtimestamp(NOW / 1000 + 3600)}"
    said = list(lines(SNAPSHOT))
    assert said[:5] == [
        f"{clock} open (web, anna): a <b>, until {clock}",
        f"{clock} 21.5 °C (sensor 0)",
        f"{clock} bruno: <b>�&�",
        "      2 present (anna)",
        said[4],
    ]
    assert re.fullmatch(rf"      announced by anna: closed {clock} to .*{hour_later[11:16]}: holiday", said[4])
    assert list(lines(SNAPSHOT)) == []  # the server says it all again to who comes back
    assert list(lines({"seq": 5, "announced": []})) == [f"      no longer {said[4].strip()}"]
    assert list(lines({"seq": 5, "heard": NOW})) == []
    assert list(lines(None)) == []
    sound = {"sound": {"timestamp": NOW, "number": 3, "modifiedby": "web"}}
    assert list(lines(sound | {"seq": 6})) == list(lines(sound | {"seq": 7})) == [f"{clock} sound 3 (web)"]
    old = list(lines({"seq": 8, "message": {"timestamp": 0, "user": "anna", "value": "x"}}))
    assert re.fullmatch(r"(1970-01-01|1969-12-31) \d\d:\d\d anna: x", old[0])


@pytest.mark.parametrize(("value", "mark"), [("open", "●"), ("closed", "■"), ("away", "▲"), ("unknown", "?")])
def test_a_terminal_gets_shape_and_colour(value: str, mark: str) -> None:
    (line,) = Lines(colour=True)({"seq": 1, "status": OPEN | {"value": value}})
    assert f"{mark} {value}\x1b[0m (web, anna)" in line


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_state_is_that_of_every_other_reader(vector: dict[str, Any]) -> None:
    wanted = {key: value for key, value in vector["after"].items() if key != "tempinthist"}
    assert functools.reduce(fold, vector["frames"], fold({}, vector["snapshot"])) == wanted


def test_a_bar_gets_what_waybar_reads() -> None:
    bar = Bar()
    (line,) = bar(SNAPSHOT)
    module = json.loads(line)
    assert module.keys() == {"text", "alt", "class", "percentage", "tooltip"}
    assert (module["text"], module["alt"], module["class"], module["percentage"]) == ("● open", "open", "open", 100)
    # Pango's markup, of which nobody else may write any.
    tooltip = ElementTree.fromstring(f"<markup>{module['tooltip']}</markup>")
    assert len(tooltip) == 0
    words = str(tooltip.text).split("\n")
    assert words[0].startswith("open since ")
    assert words[0].split(": ", 1)[1].startswith("a <b>, until")
    assert words[1].endswith("21.5 °C (sensor 0)")
    assert words[2:4] == ["2 present (anna)", words[3]]
    assert words[3].endswith("bruno: <b>�&�")
    assert "closed" in words[4]
    assert list(bar({"seq": 5, "heard": NOW})) == []  # nothing that is shown
    (line,) = bar(None)
    module = json.loads(line)
    assert (module["text"], module["class"], module["percentage"]) == ("? offline", "offline", 0)
    assert module["tooltip"].startswith("not connected; what was last heard:\nopen since ")
    assert list(bar(None)) == []
    (line,) = bar({"seq": 6, "status": OPEN | {"value": "closed"}})
    assert json.loads(line)["text"] == "■ closed"
    (line,) = bar({"seq": 6, "status": OPEN | {"value": "unknown"}, "stale": True, "heard": NOW})
    assert json.loads(line)["class"] == "unknown"
    assert "the board was last heard" in json.loads(line)["tooltip"]


@given(st.text(max_size=80))
def test_no_text_breaks_the_bar(words: str) -> None:
    (line,) = Bar()(SNAPSHOT | {"message": {"timestamp": NOW, "user": words, "value": words}})
    assert line.isascii()
    assert "\n" not in line
    ElementTree.fromstring(f"<markup>{json.loads(line)['tooltip']}</markup>")


async def test_a_bar_shows_when_the_connection_is_lost_and_back() -> None:
    answers = [
        json.dumps(SNAPSHOT),
        '{"seq": 5, "status": {"timestamp": 1, "modifiedby": "BITS", "value": "closed"}}',
        "no",
    ]

    async def speak(link: ServerConnection) -> None:
        await link.send(answers.pop(0))

    shown: list[str] = []
    async with serve(speak, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(BitsError, match="does not speak"):
            await asyncio.wait_for(watch(f"ws://127.0.0.1:{port}/ws", Bar(), show=shown.append), 15)
    assert [json.loads(line)["class"] for line in shown] == ["open", "offline", "closed", "offline"]


def test_once(server: Server, tmp_path: Path) -> None:
    server.say("status 1")
    run = server.run("watch", "--once")
    assert (run.returncode, run.stderr) == (0, "")
    assert re.fullmatch(r"\d\d:\d\d open \(BITS\)\n", run.stdout)
    assert json.loads(server.run("watch", "--once", "--json").stdout)["status"]["value"] == "open"
    assert json.loads(server.run("watch", "--once", "--waybar").stdout)["class"] == "open"
    nowhere = "http://127.0.0.1:1"
    run = server.run("watch", "--once", "--url", nowhere)
    assert run.returncode == 1
    assert run.stderr.startswith("bits: ws://127.0.0.1:1/ws: ")
    assert len(run.stderr.splitlines()) == 1
    run = server.run("watch", "--once", "--waybar", "--url", nowhere)
    assert (run.returncode, json.loads(run.stdout)["class"]) == (0, "offline")
    assert server.run("watch", "--json", "--waybar").returncode == 2


async def test_a_server_that_is_not_ready_is_waited_for() -> None:
    asked = 0

    def refuse(link: ServerConnection, request: Request) -> Response | None:
        nonlocal asked
        asked += 1
        return link.respond(HTTPStatus.BAD_GATEWAY, "not yet\n") if asked == 1 else None

    async def speak(link: ServerConnection) -> None:
        await link.send('{"seq": 7, "people": {"count": 1}}')
        await link.send("no frame")

    shown: list[str] = []
    async with serve(speak, "127.0.0.1", 0, process_request=refuse) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(BitsError, match="does not speak"):
            await asyncio.wait_for(watch(f"ws://127.0.0.1:{port}/ws", Lines(), show=shown.append), 15)
    assert shown == ["      1 present"]


def test_in_a_terminal_it_has_colour_unless_that_is_not_wanted(server: Server) -> None:
    server.say("status 1")
    for unwanted in (False, True):
        ours, theirs = pty.openpty()
        environment = {key: value for key, value in server.environment.items() if key != "NO_COLOR"}
        with subprocess.Popen(
            [sys.executable, "-m", "bits", "watch", "--once"],
            env=environment | ({"NO_COLOR": "1"} if unwanted else {}),
            stdout=theirs,
        ) as process:
            os.close(theirs)
            shown = os.read(ours, 4096).decode()
            assert process.wait(WAIT) == 0
        os.close(ours)
        assert ("\x1b[1;32m● open\x1b[0m" in shown) is not unwanted
