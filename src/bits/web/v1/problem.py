"""Everything that may go wrong under /api/, as problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from sanic import HTTPResponse, Request, SanicException

from bits.web.framing import CORS

PREFIX = "/api/"
CONTENT_TYPE = "application/problem+json"

# Programs go by these words, which stay; the sentences beside them may change. By status, the words of errors that
# the server finds before a handler is reached.
KINDS = {
    "bad-request": (400, "The request is malformed"),
    "bad-parameter": (400, "A parameter is not as described"),
    "bad-body": (400, "The body is not as described"),
    "no-token": (401, "A token is needed"),
    "bad-token": (401, "The token is not known, or was revoked"),
    "insufficient-scope": (403, "The token does not allow this"),
    "not-yours": (403, "Somebody else has to do this"),
    "not-found": (404, "There is nothing here"),
    "not-allowed": (405, "This can be done here, but not so"),
    "too-slow": (408, "The request did not come in time"),
    "no-room": (409, "There are as many of these as there can be"),
    "too-large": (413, "The request is too large"),
    "not-json": (415, "The body is not JSON"),
    "not-sensible": (422, "The body is as described, but makes no sense now"),
    "too-many": (429, "Too many requests with this token"),
    "our-fault": (500, "Something went wrong on our side"),
    "busy": (503, "The server is busy"),
}
BY_STATUS = {
    400: "bad-request",
    401: "no-token",
    403: "insufficient-scope",
    404: "not-found",
    405: "not-allowed",
    408: "too-slow",
    413: "too-large",
    415: "not-json",
    422: "not-sensible",
    429: "too-many",
    500: "our-fault",
    503: "busy",
}


class Problem(Struct, kw_only=True, omit_defaults=True):
    """What went wrong: RFC 9457."""

    type: Annotated[str, Meta(description="Stable; where it is described. Programs go by its last word.")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="What came and what was expected, for people.")]
    at: Annotated[str | None, Meta(description="The parameter, or the place in the body.")] = None


class Refusal(SanicException):
    """A request that the API refuses, by one of the KINDS.

    Args:
        at: the parameter, or the place in the body.
    """

    def __init__(self, kind: str, detail: str, *, at: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail, status_code=KINDS[kind][0], headers=headers or {}, quiet=True)
        self.kind = kind
        self.at = at


def invalid(kind: str, error: msgspec.ValidationError | msgspec.DecodeError) -> Refusal:
    """Return the refusal of what msgspec found wrong: "Expected `int` <= 500 - at `$.limit`"."""
    said, _, place = str(error).partition(" - at `")
    return Refusal(kind, said.replace("`", "") + ".", at=place.rstrip("`").removeprefix("$").removeprefix(".") or None)


def problem(kind: str, detail: str, at: str | None = None) -> Problem:
    status, title = KINDS[kind]
    return Problem(type=f"/api/v1/#{kind}", title=title, status=status, detail=detail, at=at)


def answer(status: int, sentence: str, headers: dict[str, str], error: Exception) -> HTTPResponse:
    """Answer a request under /api/ that went wrong."""
    if isinstance(error, Refusal):
        said = problem(error.kind, sentence, error.at)
    elif status in BY_STATUS:
        said = problem(BY_STATUS[status], sentence)
    else:
        said = Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=sentence)
    headers = {**headers, **CORS, "Cache-Control": "no-store"}
    return HTTPResponse(msgspec.json.encode(said), status=status, headers=headers, content_type=CONTENT_TYPE)


def kind_of(status: int, error: Exception) -> str:
    """Return the word that a counter has for it."""
    return error.kind if isinstance(error, Refusal) else BY_STATUS.get(status, str(status))


def concerns(request: Request) -> bool:
    """Tell whether a request is the API's; one whose target cannot be read is nobody's."""
    try:
        return request.path.startswith(PREFIX)
    except Exception:
        return False
