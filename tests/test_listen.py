"""Listening sockets, and the sentences when they cannot be had."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

import pytest

from bits import listen
from bits.errors import BitsError


def test_tcp_on_both_kinds_of_address() -> None:
    for host, shown in (("127.0.0.1", "127.0.0.1:"), ("::1", "[::1]:"), ("[::1]", "[::1]:"), ("localhost", ":")):
        try:
            listener = listen.tcp(host, 0, backlog=5, key="web_port")
        except BitsError:
            if ":" in host:
                pytest.skip("no IPv6 on this machine")
            raise
        with listener:
            assert shown in listen.address(listener)
            with socket.create_connection(listener.getsockname()[:2]):
                pass


def test_a_kind_of_address_the_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))  # what a kernel without IPv6 says

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(BitsError, match=r"cannot listen on \[::1\]:0: this machine has no addresses of that kind"):
        listen.tcp("[::1]", 0, backlog=5, key="web_port")


def test_an_address_that_cannot_be_had() -> None:
    with listen.tcp("127.0.0.1", 0, backlog=5, key="web_port") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BitsError, match=rf"cannot listen on 127.0.0.1:{port}: another program .*\(web_port\)"):
            listen.tcp("127.0.0.1", port, backlog=5, key="web_port")
    with pytest.raises(BitsError, match=r"this machine has no such address.*\(control_port\)"):
        listen.tcp("192.0.2.1", 0, backlog=5, key="control_port")
    with pytest.raises(BitsError, match="no such host"):
        listen.tcp("no such host", 0, backlog=5, key="web_port")
    with pytest.raises(BitsError, match="no such host"):
        listen.tcp("x" * 300, 0, backlog=5, key="web_port")


def unix(path: Path, mode: int = 0o660) -> socket.socket:
    return listen.unix(path, uid=os.getuid(), gid=os.getgid(), mode=mode, backlog=5, key="web_usocket")


def test_unix_with_its_owner_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "bits.sock"
    with unix(path, 0o640) as listener:
        assert path.stat().st_mode & 0o777 == 0o640
        assert listen.address(listener) == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_unix_replaces_a_dead_servers_socket_but_not_a_live_ones_nor_a_file(tmp_path: Path) -> None:
    path = tmp_path / "bits.sock"
    unix(path).close()
    with unix(path), pytest.raises(BitsError, match="another program listens there"):
        unix(path)
    file = tmp_path / "precious"
    file.write_text("data")
    with pytest.raises(BitsError, match="a file that is not a socket"):
        unix(file)
    assert file.read_text() == "data"
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(BitsError, match="a file that is not a socket"):
        unix(link)


def test_unix_leaves_nothing_behind_when_it_may_not_have_that_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))  # root, who may run this, may do all

    path = tmp_path / "bits.sock"
    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(BitsError, match=r"Operation not permitted \(web_usocket\)"):
        unix(path)
    assert not path.exists()


def test_unix_does_not_wait_for_a_live_server_that_is_busy(tmp_path: Path) -> None:
    path = tmp_path / "bits.sock"
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as queue:
        busy.bind(str(path))
        busy.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = queue.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        with pytest.raises(BitsError, match="another program listens there"):
            unix(path)


def test_unix_where_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(BitsError, match=r"No such file or directory \(web_usocket\)"):
        unix(tmp_path / "no" / "bits.sock")
    with pytest.raises(BitsError, match="too long"):
        unix(tmp_path / ("x" * 120))
