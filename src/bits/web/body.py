"""Finished answers: encoded once, compressed once, and not sent at all to who has them already."""

from __future__ import annotations

import gzip
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b

from sanic import HTTPResponse, Request

from bits._door import Answer

# Below this a compressed answer saves no packet.
WORTH_COMPRESSING = 1000

COMPRESSIBLE = (
    "text/",
    "application/json",
    "application/atom+xml",
    "application/javascript",
    "image/svg+xml",
    "application/manifest",
)


LANGUAGE_VARIES = "Accept-Encoding, Accept-Language"


class Body:
    """Bytes to be sent many times."""

    def __init__(self, data: bytes, content_type: str, *, vary: str = LANGUAGE_VARIES) -> None:
        self.data = data
        self.content_type = content_type
        self.vary = vary
        self.tag = f'"{urlsafe_b64encode(blake2b(data, digest_size=9).digest()).decode()}"'
        self.etag = f"W/{self.tag}"  # weak, since the compressed and the plain form share it

    @cached_property
    def gzipped(self) -> bytes | None:
        """The compressed form, where that is worth it; made when first asked for."""
        if len(self.data) < WORTH_COMPRESSING or not self.content_type.startswith(COMPRESSIBLE):
            return None
        packed = gzip.compress(self.data, 6, mtime=0)
        return packed if len(packed) < len(self.data) else None

    def answer(self, request: Request, *, cache: str = "no-cache", status: int = 200) -> HTTPResponse:
        """Answer a GET or HEAD: 304 where the client has it, compressed where it can read that."""
        headers = {"Cache-Control": cache, "ETag": self.etag, "Vary": self.vary}
        if status == 200 and _has(request.headers.get("if-none-match", ""), self.etag):
            return HTTPResponse(status=304, headers=headers)
        data = self.data
        if self.gzipped and accepts_gzip(request.headers.get("accept-encoding", "")):
            data = self.gzipped
            headers["Content-Encoding"] = "gzip"
        return HTTPResponse(data, status=status, headers=headers, content_type=self.content_type)

    def finished(self, more: Mapping[str, str]) -> Answer:
        """Return the same answers, whole, for the front door: as few headers as will do."""
        common = {"Cache-Control": "no-cache", "ETag": self.etag, "Vary": self.vary, **more}
        plain = {"Content-Type": self.content_type, "Content-Length": len(self.data), **common}
        packed = {**plain, "Content-Encoding": "gzip", "Content-Length": len(self.gzipped)} if self.gzipped else {}
        return Answer(
            whole("200 OK", plain, self.data),
            whole("200 OK", packed, self.gzipped) if self.gzipped else None,
            whole("304 Not Modified", common),
            self.tag.encode(),
        )


def whole(status: str, headers: Mapping[str, object], body: bytes = b"") -> bytes:
    """Return an answer as it goes over the wire."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def _has(if_none_match: str, etag: str) -> bool:
    """Compare weakly (RFC 9110 section 8.8.3.2)."""
    bare = etag.removeprefix("W/")
    return any(tag.strip() == "*" or tag.strip().removeprefix("W/") == bare for tag in if_none_match.split(","))


def accepts_gzip(header: str) -> bool:
    """Read an Accept-Encoding header; an encoding with q=0 is refused."""
    for part in header.lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() in ("gzip", "x-gzip", "*"):
            name, _, value = parameters.strip().partition("=")
            return not (name == "q" and value.strip("0.") == "")
    return False
