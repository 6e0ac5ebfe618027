"""The front door: heads judged, and small answers over real sockets, beside Sanic's own parser."""

from __future__ import annotations

import os
import select
import socket
from typing import Any

import pytest
from httptools import HttpRequestParser

from bits._door import Answer, Door
from bits._http import read

HEAD = (
    b"GET /data HTTP/1.1\r\nHost: bits.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0)\r\n"
    b"Accept: */*\r\nAccept-Language: it,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b'If-None-Match: W/"HkgqbUQg6758"\r\nConnection: keep-alive\r\nCookie: session=0123456789\r\n\r\n'
)
UNCHANGED = b'HTTP/1.1 304 Not Modified\r\nETag: W/"HkgqbUQg6758"\r\n\r\n'


class Fields:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def ours() -> Any:
    return read(HEAD)


def by_httptools() -> Any:
    fields = Fields()
    HttpRequestParser(fields).feed_data(HEAD)
    return fields


@pytest.mark.parametrize("way", [ours, by_httptools])
def test_head(benchmark: Any, way: Any) -> None:
    benchmark.group = "judge a browser's head"
    assert ours()[0] == "fast"
    assert by_httptools().url == b"/data"
    benchmark(way)


def test_get(benchmark: Any) -> None:
    benchmark.group = "GET /data answered 304, 64 connections"
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        listener.setblocking(False)
        answer = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", None, UNCHANGED, b'"HkgqbUQg6758"')
        door = Door(listener.fileno(), lambda route, iso: answer, print, lambda fd, received: os.close(fd), most=100)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(64)]
        door.on_connect(0.0)

        def turn() -> None:
            for client in clients:
                client.send(HEAD)
            answered = door.answered + len(clients)
            while door.answered < answered:
                select.select([door], [], [])
                door.on_ready(0.0)

        def read_answers() -> None:
            for client in clients:
                assert client.recv(1000) == UNCHANGED

        turn()
        read_answers()
        benchmark.pedantic(turn, teardown=read_answers, rounds=100)
        door.close()
        for client in clients:
            client.close()
