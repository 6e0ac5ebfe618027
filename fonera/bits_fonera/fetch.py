"""One HTTP request at a time, without waiting: what the router needs of the server's web side. Bytes only, no I/O."""

from __future__ import annotations

ANSWER_MAX = 16 * 1024  # bytes; what we ask for is a line or less


def get(address: tuple[str, int], path: str) -> bytes:
    """Return a request. Version 1.0, since it ends an answer with the connection and never cuts it into chunks."""
    return f"GET {path} HTTP/1.0\r\nHost: {_host(address)}\r\nConnection: close\r\n\r\n".encode("ascii")


def post_form(address: tuple[str, int], path: str, fields: dict[str, str]) -> bytes:
    """Return a request that sends a form."""
    body = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in fields.items()).encode("ascii")
    head = (
        f"POST {path} HTTP/1.0\r\nHost: {_host(address)}\r\nConnection: close\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Read a whole answer.

    Returns: status, headers with names in lower case, body.
    Raises: ValueError: this is no HTTP answer.
    """
    head, end, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if not end or not words[0].startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise ValueError(f"expected an HTTP answer, got {answer[:40]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers, body


def _quoted(text: str) -> str:
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in text.encode())


def _host(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
