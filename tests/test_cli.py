"""The command line: what it prints, how it fails."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bits import __version__
from bits.cli import bits
from bits.config import Config
from bits.errors import BitsError
from bits.send import parse, send
from tests.conftest import Server, wait_until

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
