"""The whole server as a process: start, stop, restart, kill, and what it says when it cannot start."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.conftest import Server, wait_until

Make = Callable[..., Server]


def test_it_says_where_it_is_and_stops_when_asked(make_server: Make) -> None:
    server = make_server()
    assert server.get("/healthz")[2] == b"ok"
    assert server.get("/readyz")[0] == 200
    assert server.stop() == 0


def test_state_survives_a_restart(make_server: Make) -> None:
    server = make_server()
    server.say("status 1", "temperature 0 21.5", "temperature 1 3.25", "message Q2lhbw==", "enter 42")
    before = server.json("/data")
    server.stop()
    server.start()
    after = server.json("/data")
    # A last sign of life may have been logged at the stop.
    assert after.pop("seq") - before.pop("seq") in (0, 1)
    assert after.pop("heard") >= before.pop("heard")
    assert after == before


def test_goodbye_is_said_to_live_clients(make_server: Make) -> None:
    server = make_server()
    with connect(server.url.replace("http", "ws") + "/ws") as stream:
        stream.recv()
        server.stop()
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


def test_killed_amid_ten_thousand_lines_nothing_that_was_shown_is_lost(make_server: Make) -> None:
    """Invariants 1 and 7: every event that any client was shown is in the log, and the log opens."""
    server = make_server()
    shown: list[list[dict[str, object]]] = [[] for _ in range(5)]
    joined = threading.Barrier(6)

    def follow(frames: list[dict[str, object]]) -> None:
        try:
            with connect(server.url.replace("http", "ws") + "/ws", max_queue=None) as stream:
                stream.recv()
                joined.wait(20)
                frames.extend(json.loads(frame) for frame in stream)
        except (ConnectionClosed, OSError):
            pass

    followers = [threading.Thread(target=follow, args=(frames,)) for frames in shown]
    for follower in followers:
        follower.start()
    joined.wait(20)

    def speak() -> None:
        try:
            with server.bridge() as link:
                for n in range(10_000):
                    link.sendall(f"temperature {n % 4} {n / 100}\n".encode())
        except OSError:
            pass

    speaker = threading.Thread(target=speak)
    speaker.start()
    wait_until(lambda: len(shown[0]) > 1000, "a thousand frames")
    server.kill()
    speaker.join(20)
    for follower in followers:
        follower.join(20)
    with sqlite3.connect(server.folder / "bits.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        logged = dict(database.execute("SELECT seq, value FROM event"))
    database.close()
    assert sorted(logged) == list(range(1, len(logged) + 1))
    total = 0
    for frames in shown:
        for frame in frames:
            sample = frame.get("tempint")
            if isinstance(sample, dict):
                assert logged[frame["seq"]] == sample["value"]
                total += 1
    assert total > 1000
    server.start()
    newest = server.json("/data")
    # The reopened log may be judged by its heartbeat, but what it held is all there.
    assert newest["seq"] >= max(logged)
    assert newest["tempint"]["value"] == logged[max(n for n, value in logged.items() if value is not None)]


@pytest.mark.postgres
def test_it_runs_on_postgresql(make_server: Make, postgres_uri: str) -> None:
    server = make_server(db_uri=postgres_uri)
    server.say("status 1", "temperature 0 21.5", "message Q2lhbw==")
    before = server.json("/data")
    server.kill()
    server.start()
    after = server.json("/data")
    assert after["status"] == before["status"]
    assert after["tempinthist"] == before["tempinthist"]
    assert after["message"]["value"] == "Ciao"


# --- each failure is one sentence and a non-zero exit


def fails(folder: Path, *arguments: str, **settings: str) -> str:
    server = Server(folder, **settings)
    result = server.run("serve", *arguments)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    sentence = result.stderr.strip().splitlines()[-1]
    assert sentence.startswith("bits: ")
    return sentence


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "another program listens there" in (said := fails(tmp_path, web_port=port))
        assert f"127.0.0.1:{port}" in said
        assert "(web_port)" in said
        assert "(control_port)" in fails(tmp_path, control_port=port)


def test_an_unreadable_config(tmp_path: Path) -> None:
    file = tmp_path / "bits.toml"
    assert "cannot be read: No such file" in fails(tmp_path, "--config", str(file))
    file.write_text("web_port = [")
    assert "is not valid TOML" in fails(tmp_path, "--config", str(file))
    file.write_text("web_prot = 1")
    assert "unknown key 'web_prot'; did you mean web_port?" in fails(tmp_path, "--config", str(file))


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    assert "cannot be opened (db_uri)" in fails(tmp_path, db_uri=f"sqlite:///{tmp_path}/none/bits.db")
    file = tmp_path / "text.db"
    file.write_text("this is no database, and long enough to be sure of that" * 20)
    assert "file is not a database" in fails(tmp_path, db_uri=f"sqlite:///{file}")
    assert "cannot be opened (db_uri)" in fails(tmp_path, db_uri="postgresql://u:secret@127.0.0.1:1/bits")


def test_a_database_of_a_newer_schema(tmp_path: Path) -> None:
    server = Server(tmp_path)
    assert "Created the tables" in server.run("init").stdout
    assert "nothing to do" in server.run("init").stdout
    with sqlite3.connect(tmp_path / "bits.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    assert "upgrade this one" in fails(tmp_path)


def test_several_processes_on_one_sqlite_log(tmp_path: Path) -> None:
    assert "a SQLite log belongs to one process" in fails(tmp_path, workers="2")


def test_http_on_a_unix_socket(make_server: Make, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    server = make_server(web_usocket=str(path), web_usocket_mode="0600")
    assert path.stat().st_mode & 0o777 == 0o600
    server.say("status 1")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /status HTTP/1.1\r\nHost: space\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := client.recv(4096):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\n1")


def test_a_proxy_on_our_unix_socket_is_believed(make_server: Make, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    server = make_server(web_usocket=str(path), log_requests="true")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 10.0.0.1,203.0.113.9\r\n\r\n"
        )
        while client.recv(4096):
            pass
    wait_until(lambda: "203.0.113.9 GET /healthz 200" in server.errors, "the request is logged")
