"""The control port over real sockets."""

from __future__ import annotations

import hmac
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from bits.ingest import INTERVALS, is_allowed
from tests.conftest import ROOT, Server, wait_until

KEY = "the key of the attic"
KEYS = f"attic={KEY}, cellar=another key of its own"


def lines_of(link: socket.socket, count: int) -> list[str]:
    received = b""
    while received.count(b"\n") < count:
        data = link.recv(65536)
        assert data, f"closed after {received!r}"
        received += data
    return received.decode().splitlines()


def is_closed(link: socket.socket) -> bool:
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_line_in_any_pieces_is_one_event(server: Server) -> None:
    with server.bridge() as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"temperature 3 -12.5\r\n":
            link.send(bytes([byte]))
        assert wait_until(lambda: server.json("/data").get("tempint"))["value"] == -12.5


def test_a_burst_is_stored_in_order(server: Server) -> None:
    server.say(*(f"temperature {n % 4} {n / 10}" for n in range(5000)))
    data = server.json("/data")
    assert [sample["value"] for sample in data["tempinthist"]] == [n / 10 for n in range(4999, 4899, -1)]
    assert server.metric("events_stored_total") >= 5000
    assert server.metric("commits_total") < 500


def test_refused_lines_are_counted_by_reason_and_the_link_goes_on(server: Server) -> None:
    refusals = {
        "unknown-command": b"frobnicate 1",
        "wrong-word-count": b"status",
        "bad-number": b"status open",
        "out-of-range": b"status 2",
        "bad-base64": b"message ???",
        "bad-utf8": b"message /w==",
        "line-too-long": b"message " + b"A" * 5000,
        "not-expected": b"welcome 1",
    }
    with server.bridge() as link:
        for line in refusals.values():
            link.sendall(line + b"\n")
        link.sendall(b"temperature 0 nan\nstatus 1\nping still-here\n")
        assert lines_of(link, 2) == ["status 1", "pong still-here"]
    for reason in refusals:
        assert server.metric(f'lines_refused_total{{reason="{reason}"}}') >= 1, reason
    assert "line refused, unknown-command: b'frobnicate 1'" in server.errors
    assert server.get("/status")[2] == b"1"


def test_noise_does_not_fill_the_log(server: Server) -> None:
    server.say(*["noise"] * 3000)
    assert server.metric('lines_refused_total{reason="unknown-command"}') == 3000
    assert 10 < server.errors.count("line refused") < 30


def test_a_bridge_is_told_the_status_when_it_connects_and_whatever_changes(server: Server) -> None:
    server.say("status 1")
    with server.bridge() as one, server.bridge() as other:
        assert lines_of(one, 1) == ["status 1"]
        assert lines_of(other, 1) == ["status 1"]
        one.sendall(b"status 1\nstatus 0\nmessage Q2lhbyDimJU=\nsound 7\ntemperature 0 20\nenter 4\n")
        told = ["status 0", "message Q2lhbyDimJU=", "sound 7"]
        assert lines_of(one, 3) == told
        assert lines_of(other, 3) == told


def test_a_bridge_that_reads_nothing_is_cut_off_and_delays_nobody(server: Server) -> None:
    with server.bridge() as deaf, server.bridge() as speaker:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        speaker.settimeout(20)
        words = b"message " + b"QUFB" * 1000 + b"\n"
        for _ in range(40):
            speaker.sendall(words * 50 + b"ping here\n")
            while b"pong here\n" not in speaker.recv(1 << 20):
                pass
            if server.metric("bridges_cut_off_total"):
                break
        assert server.metric("bridges_cut_off_total") == 1
        assert "it reads nothing" in server.errors


def test_strangers_are_closed_at_once_and_counted(make_server: Callable[..., Server]) -> None:
    server = make_server(control_allow="10.0.0.0/8, 127.0.0.2")
    with server.bridge() as link:
        assert is_closed(link)
    assert server.metric('bridges_refused_total{reason="not-allowed"}') == 1
    with socket.create_connection(server.control, source_address=("127.0.0.2", 0)) as link:
        link.sendall(b"status 1\n")
        assert lines_of(link, 1) == ["status 1"]


def test_too_many_bridges_are_refused(make_server: Callable[..., Server]) -> None:
    server = make_server(control_connections="2")
    with server.bridge() as one, server.bridge() as two:
        for link in (one, two):
            link.sendall(b"ping x\n")
            lines_of(link, 1)
        with server.bridge() as three:
            assert is_closed(three)
    assert server.metric('bridges_refused_total{reason="too-many"}') == 1


def test_a_unix_socket_serves_bridges_too(make_server: Callable[..., Server], tmp_path: object) -> None:
    path = f"{tmp_path}/control.sock"
    server = make_server(control_usocket=path, control_usocket_mode="0600")
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        link.sendall(b"status 1\nping x\n")
        assert lines_of(link, 2) == ["status 1", "pong x"]
    assert server.get("/status")[2] == b"1"


# --- version 2


class Peer:
    """A bridge's end of a connection, version 2."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.link.settimeout(20)
        self._received = b""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    def say(self, *lines: str) -> None:
        self.link.sendall("".join(line + "\n" for line in lines).encode())

    def line(self) -> str:
        """Return the next line; "" at the end."""
        while b"\n" not in self._received:
            try:
                data = self.link.recv(65536)
            except ConnectionError:
                return ""
            if not data:
                return ""
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def hear(self, *words: str) -> str:
        """Return the next line that begins with one of these words; "" at the end."""
        while line := self.line():
            if line.split()[0] in words:
                return line
        return ""

    def prove(self, bridge: str = "attic", key: str = KEY) -> None:
        self.say(f"hello 2 {bridge}")
        nonce = self.hear("nonce").removeprefix("nonce ")
        if not nonce:
            raise ConnectionError("closed before the nonce came")
        assert re.fullmatch("[0-9a-f]{32}", nonce)
        self.say(f"hello 2 {bridge} {hmac.new(key.encode(), nonce.encode(), 'sha256').hexdigest()}")

    def welcome(self, bridge: str = "attic", key: str = KEY) -> int:
        """Say hello; return the number from which to go on."""
        self.prove(bridge, key)
        return int(self.hear("welcome").removeprefix("welcome "))


def log_of(server: Server, columns: str = "number, kind, key, value, text") -> list[tuple[object, ...]]:
    with sqlite3.connect(server.folder / "bits.db") as database:
        rows = database.execute(f"SELECT {columns} FROM event WHERE bridge IS NOT NULL ORDER BY seq").fetchall()
    database.close()
    return rows


@pytest.fixture
def server2(make_server: Callable[..., Server]) -> Server:
    return make_server(bridge_keys=KEYS, bridge_ping="0")  # a slow machine's pings would come in between


def test_the_documented_session_line_by_line(server2: Server) -> None:
    page = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    begin = page.rindex("    bridge                              server\n")
    conversation = page[begin:].split("\n\n")[0].splitlines()[1:]
    assert conversation[0] == "    hello 2 attic"
    with Peer(server2.bridge()) as peer:
        peer.welcome()
        peer.say("@41 0 sound 3")
        assert peer.hear("ack") == "ack 41"
    begun = time.time()
    with Peer(server2.bridge()) as peer:
        nonce = b""
        for line in conversation:
            spoken = line.strip()
            if line.startswith("    " * 4):
                heard = peer.hear("nonce", "welcome", "ack", "nak", "pong")
                if heard.startswith("nonce"):  # it is drawn anew each time, and the proof made from it
                    nonce = heard.removeprefix("nonce ").encode()
                    assert len(heard) == len(spoken)
                else:
                    assert heard == spoken
            elif nonce:
                peer.say(re.sub("[0-9a-f]{64}", hmac.new(KEY.encode(), nonce, "sha256").hexdigest(), spoken))
            else:
                peer.say(spoken)
    rows = log_of(server2, "number, kind, text, at")
    assert [row[:3] for row in rows] == [(41, "sound", None), (42, "status", "open")]
    happened = datetime.fromisoformat(str(rows[1][3])).replace(tzinfo=UTC).timestamp()
    assert begun - 90.5 <= happened <= time.time() - 90.5
    assert server2.metric('lines_refused_total{reason="bad-number"}') == 1
    assert server2.metric("naks_total") == 1


def test_the_documented_session_at_once(server2: Server) -> None:
    """Answers come in the order of the lines, however they are sent."""
    with Peer(server2.bridge()) as peer:
        assert peer.welcome() == 0
        peer.say("@42 90500 status 1", "@43 120 temperature 0 warm", "@44 0 sound 1", "ping 7")
        heard = [peer.hear("ack", "nak", "pong") for _ in range(4)]
        assert heard == ["ack 42", "nak 43 bad-number", "ack 44", "pong 7"]


def test_what_is_sent_again_is_stored_once_and_acknowledged_again(server2: Server) -> None:
    lines = [f"@{n} 0 temperature {n % 3} {n / 10}" for n in range(1, 51)]
    for cut in (10, 25, 26, 50):
        with Peer(server2.bridge()) as peer:  # it has forgotten which were acknowledged, and sends all again
            last = peer.welcome()
            peer.say(*lines[:cut])
            while (ack := int(peer.hear("ack").removeprefix("ack "))) < cut:
                pass
            assert ack == cut
            assert last <= cut
    assert [row[0] for row in log_of(server2)] == list(range(1, 51))
    assert server2.metric("lines_repeated_total") == 10 + 25 + 26
    with Peer(server2.bridge()) as peer:
        assert peer.welcome() == 50
    with Peer(server2.bridge()) as peer:  # each bridge counts for itself
        assert peer.welcome("cellar", "another key of its own") == 0


def test_a_number_is_kept_though_its_line_changes_nothing(server2: Server) -> None:
    with Peer(server2.bridge()) as peer:
        peer.welcome()
        peer.say("@1 0 status 1", "@2 0 status 1", "@3 0 leave 5", "@4 0 seen " + "ab" * 32, "ping x")
        assert peer.hear("ack", "pong") == "ack 4"
    kinds = [row[1] for row in log_of(server2)]
    assert kinds == ["status", "heartbeat", "heartbeat", "heartbeat"]
    server2.kill()
    server2.start()
    with Peer(server2.bridge()) as peer:
        assert peer.welcome() == 4


def test_killed_amid_numbered_lines_each_is_there_once_in_order_at_its_time(make_server: Callable[..., Server]) -> None:
    server = make_server(bridge_keys=KEYS, bridge_ping="1")
    count, step = 2000, 1.5
    base = time.time() - step * count
    happened = [base + step * n for n in range(count + 1)]  # by number
    connections = 0
    acked = 0

    def talk() -> None:
        """Be a bridge: send what is not acknowledged, until all is."""
        nonlocal connections, acked
        while acked < count:
            try:
                with Peer(server.bridge()) as peer:
                    acked = max(acked, peer.welcome())
                    connections += 1
                    sent = acked
                    while acked < count:
                        while sent < min(acked + 64, count):
                            sent += 1
                            age = round((time.time() - happened[sent]) * 1000)
                            peer.say(f"@{sent} {age} temperature 0 {sent / 10}")
                        acked = int(peer.hear("ack").removeprefix("ack "))
            except (OSError, ValueError):
                time.sleep(0.02)

    talker = threading.Thread(target=talk)
    talker.start()
    for part in (400, 900, 1500):
        wait_until(lambda part=part: acked > part, f"{part} lines")  # type: ignore[misc]
        server.kill()
        server.start()
    talker.join(60)
    assert not talker.is_alive()
    assert connections >= 4
    rows = log_of(server, "number, value, at")
    assert [row[:2] for row in rows] == [(n, n / 10) for n in range(1, count + 1)]
    for number, _, at in rows:
        stored = datetime.fromisoformat(str(at)).replace(tzinfo=UTC).timestamp()
        assert abs(stored - happened[int(str(number))]) < 1.0  # a machine that is busy may take its time to read


@pytest.mark.parametrize(
    ("bridge", "key", "reason"),
    [("attic", "the key of the cellar", "bad-proof"), ("roof", KEY, "unknown-bridge"), ("attic", "", "no-nonce")],
)
def test_a_bridge_that_proves_nothing_is_closed_and_counted(
    server2: Server, bridge: str, key: str, reason: str
) -> None:
    with Peer(server2.bridge()) as peer:
        if key:
            peer.prove(bridge, key)
        else:
            peer.say(f"hello 2 {bridge} {'ab' * 32}")
        peer.link.sendall(b"@1 0 status 1\nstatus 1\n")
        assert peer.hear("welcome", "ack", "nak") == ""
    assert server2.metric(f'bridges_refused_total{{reason="{reason}"}}') == 1
    assert f"refused as {bridge}, {reason}" in server2.errors
    assert KEY not in server2.errors
    assert server2.get("/status")[2] == b"0"
    assert server2.metric("bridges") == 0


def test_without_keys_nobody_is_welcome_and_version_1_works(server: Server) -> None:
    with Peer(server.bridge()) as peer:
        peer.say("hello 2 attic", "@1 0 status 1", "status 1", "ping x")
        assert peer.hear("nonce")
        assert [peer.hear("nak", "pong") for _ in range(2)] == ["nak 1 not-welcome", "pong x"]
    assert server.get("/status")[2] == b"1"


def test_a_second_connection_of_a_bridge_takes_the_place_of_the_first(server2: Server) -> None:
    with Peer(server2.bridge()) as first, Peer(server2.bridge()) as other:
        first.welcome()
        other.welcome("cellar", "another key of its own")
        first.say(*(f"@{n} 0 sound 1" for n in range(1, 201)))
        with Peer(server2.bridge()) as second:
            last = second.welcome()
            assert first.hear("none") == ""
            assert server2.metric("bridges_replaced_total") == 1
            assert server2.metric('bridge_welcome{bridge="attic"}') == 1
            assert server2.metric("bridges") == 2
            # All that the server took of the first was in the log before it said welcome to the second.
            assert last == len(log_of(server2))
            second.say(*(f"@{n} 0 sound 1" for n in range(1, 202)))
            while second.hear("ack") != "ack 201":
                pass
            other.say("@1 0 sound 2")
            assert other.hear("ack") == "ack 1"
        wait_until(lambda: server2.metric('bridge_welcome{bridge="attic"}') == 0)
        assert server2.metric('bridge_welcome{bridge="cellar"}') == 1
    numbers = [row[0] for row in log_of(server2, "number, bridge") if row[1] == "attic"]
    assert numbers == list(range(1, 202))


def test_a_welcomed_bridge_is_pinged_and_dropped_when_it_is_silent(make_server: Callable[..., Server]) -> None:
    interval = 0.25
    server = make_server(bridge_keys=KEYS, bridge_ping=str(interval))
    with Peer(server.bridge()) as old, Peer(server.bridge()) as live, Peer(server.bridge()) as dead:
        live.welcome("cellar", "another key of its own")
        begun = time.monotonic()
        dead.welcome()
        pinged, is_over = threading.Event(), threading.Event()

        def answer() -> None:
            while not is_over.is_set():
                live.say(live.hear("ping").replace("ping", "pong"))
                pinged.set()

        thread = threading.Thread(target=answer)
        thread.start()
        heard = list(iter(dead.line, ""))
        lasted = time.monotonic() - begun
        assert INTERVALS * interval <= lasted
        assert {line.split()[0] for line in heard} == {"ping"}
        assert 2 <= len(heard) <= INTERVALS
        assert server.metric("bridges_silent_total") == 1
        assert "dropped, silent for" in server.errors
        assert pinged.wait(5)
        assert server.metric('bridge_welcome{bridge="cellar"}') == 1
        # Nothing is expected of version 1, and nothing is said to it.
        old.say("ping x")
        assert old.line() == "pong x"
        is_over.set()
        thread.join(10)


def test_a_bridge_that_pings_by_itself_is_pinged_only_when_nothing_is_said_to_it(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(bridge_keys=KEYS, bridge_ping="0.3")
    with Peer(server.bridge()) as peer:
        peer.welcome()
        for n in range(10):
            peer.say(f"ping {n}")
            assert peer.line() == f"pong {n}"
            time.sleep(0.1)  # a third of the interval


def test_a_status_that_comes_late_does_not_undo_the_webs(make_server: Callable[..., Server]) -> None:
    from tests.test_admin import PASSWORD, SECRET, Browser

    server = make_server(bridge_keys=KEYS, bridge_ping="0", cookie_secret=SECRET)
    server.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    browser = Browser(server)
    browser.sign_in()
    with Peer(server.bridge()) as peer:
        peer.welcome()
        browser.post("/admin", {"value": "open", "csrf": browser.csrf("/admin")})
        assert peer.line() == "status 1"
        peer.say("@1 60000 status 0")
        assert peer.line() == "ack 1"
        assert server.get("/status")[2] == b"1"
        assert server.json("/data")["status"]["modifiedby"] == "web"
        assert log_of(server, "number, kind, text") == [(1, "status", "closed")]
        peer.say("@2 0 status 0")
        assert peer.line() == "status 0"
        assert peer.line() == "ack 2"
    assert server.get("/status")[2] == b"0"


def test_what_cannot_be_stored_is_sent_again_and_leaves_no_gap(server2: Server) -> None:
    """A number in the log while one below it is lost would be taken for an acknowledgement of both."""
    trigger = "BEFORE INSERT ON event WHEN NEW.value = 13 BEGIN SELECT RAISE(ABORT, 'no such luck'); END"
    database = sqlite3.connect(server2.folder / "bits.db", isolation_level=None)
    database.execute(f"CREATE TRIGGER luck {trigger}")
    with Peer(server2.bridge()) as peer:
        peer.welcome()
        database.execute("BEGIN IMMEDIATE")  # all but the first wait for it, each by itself
        for n in range(1, 21):
            peer.say(f"@{n} 0 temperature 0 {n}")
            wait_until(lambda n=n: server2.metric("lines_taken_total") == n)  # type: ignore[misc]
        database.execute("ROLLBACK")
        while peer.line():  # until it is cut off
            pass
    assert [row[0] for row in log_of(server2)] == list(range(1, 13))
    database.execute("DROP TRIGGER luck")
    database.close()
    with Peer(server2.bridge()) as peer:
        assert peer.welcome() == 12
        peer.say(*(f"@{n} 0 temperature 0 {n}" for n in range(13, 21)))
        assert peer.hear("ack") == "ack 20"
    assert [(row[0], row[3]) for row in log_of(server2)] == [(n, n) for n in range(1, 21)]
    assert "no such luck" in server2.errors
    server2.errors = ""  # it is told with its traceback


def test_away_goes_both_ways(server2: Server) -> None:
    with Peer(server2.bridge()) as peer, Peer(server2.bridge()) as old:
        peer.welcome()
        peer.say("@1 0 status 2")
        assert peer.line() == "status 2"
        assert peer.line() == "ack 1"
        assert old.line() == "status 0"
        assert server2.json("/data")["status"]["value"] == "away"
        with Peer(server2.bridge()) as again:
            # Until it is known to speak version 2, it is told what version 1 can say.
            assert again.line() == "status 0"
            again.prove("cellar", "another key of its own")
            assert again.line() == "welcome 0"
            assert again.line() == "status 2"
        peer.say("@2 0 status 0")  # from away to closed
        assert peer.line() == "status 0"
        assert old.line() == "status 0"


def test_version_2_on_a_unix_socket(make_server: Callable[..., Server], tmp_path: object) -> None:
    path = f"{tmp_path}/control.sock"
    server = make_server(control_usocket=path, bridge_keys=KEYS, bridge_ping="0")
    for last in (0, 1):
        link = socket.socket(socket.AF_UNIX)
        link.connect(path)
        with Peer(link) as peer:
            assert peer.welcome() == last
            peer.say(f"@{last + 1} 5 status {last}")
            assert peer.hear("ack") == f"ack {last + 1}"
    assert [row[0] for row in log_of(server)] == [1, 2]


def test_a_peer_of_version_1_sees_nothing_of_version_2(make_server: Callable[..., Server]) -> None:
    server = make_server(bridge_keys=KEYS, bridge_ping="0.05")
    with Peer(server.bridge()) as old, Peer(server.bridge()) as peer:
        peer.welcome()
        for n in range(1, 30):
            peer.say(f"@{n} 0 temperature 0 {n}", f"ping {n}")
            while peer.line() != f"pong {n}":
                pass
            time.sleep(0.01)
        peer.say("@30 0 sound 9")
        assert old.line() == "sound 9"


def test_a_bridge_that_reads_no_answers_is_asked_nothing_more_and_loses_nothing(
    make_server: Callable[..., Server], tmp_path: object
) -> None:
    """Bad lines without end have more answers than are kept for a bridge that does not read."""
    path = f"{tmp_path}/control.sock"  # the buffers of a unix socket are small
    server = make_server(control_usocket=path, bridge_keys=KEYS, bridge_ping="0")
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)
    count = 60_000
    flood = "".join(f"@{n} 0 noise\n" for n in range(1, count + 1)).encode() + b"ping end\n"

    def judged() -> int:
        return server.metric('lines_refused_total{reason="unknown-command"}')

    with Peer(link) as peer:
        peer.welcome()
        speaker = threading.Thread(target=link.sendall, args=(flood,))
        speaker.start()
        seen = -1
        while seen != (seen := judged()) or not seen:
            time.sleep(0.2)
        assert seen < count
        assert speaker.is_alive()
        for n in range(1, count + 1):
            assert peer.line() == f"nak {n} unknown-command"
        assert peer.line() == "pong end"
        speaker.join(10)
    assert server.metric("bridges_cut_off_total") == 0


def test_the_keys_stay_out_of_what_is_shown(server2: Server) -> None:
    shown = server2.run("config").stdout
    assert re.search(r"bridge_keys += +\(set\)|bridge_keys.*\(set\)", shown)
    assert KEY not in shown


# --- who may speak


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        (("10.8.0.7", 1), True),
        (("10.9.0.7", 1), False),
        (("::1", 1, 0, 0), True),
        (("fe80::1%eth0", 1, 0, 3), False),
        (("::ffff:10.8.0.7", 1, 0, 0), True),  # IPv4 on a socket of both kinds
        ("", True),  # a unix socket: its permissions decide
    ],
)
def test_the_allow_list(peer: object, allowed: bool) -> None:
    assert is_allowed(peer, [ip_network("10.8.0.0/24"), ip_network("::1/128")]) is allowed
