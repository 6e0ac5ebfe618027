"""The API's route table: each operation declared once, for the router and for the description."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import empty

from bits.web.body import Body
from bits.web.framing import CORS
from bits.web.v1 import guard
from bits.web.v1.problem import Refusal, invalid

BASE = "/api/v1"
LONGEST = 16 * 1024  # bytes of a body: the longest message, every character escaped, and room
FIELDS = 32  # of a query

PREFLIGHT = {
    **CORS,
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-None-Match",
    "Access-Control-Max-Age": "86400",
}
EXPOSED = {**CORS, "Access-Control-Expose-Headers": "ETag, Retry-After, WWW-Authenticate"}

Handler = Callable[..., Awaitable[Struct | Body | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can be done.

    Args:
        path: under BASE, as Sanic writes it.
        scope: what a token must allow; None: anybody may.
        query, body, answer: what is asked and what is answered; None: nothing.
        status: of the answer.
        refusals: kinds of problems beside those that follow from the rest.
        example: of the answer; given: of the body; asked: of the query.
        link: the name of what one may do with what was made, which takes its seq.
    """

    method: str
    path: str
    name: str
    summary: str
    description: str
    scope: str | None
    query: type[Struct] | None
    body: type[Struct] | None
    answer: Any
    status: int
    refusals: tuple[str, ...]
    example: Any
    given: Any
    asked: str
    link: str

    @property
    def template(self) -> str:
        """The path as the description writes it."""
        return BASE + re.sub(r"<(\w+):\w+>", r"{\1}", self.path)


class Table:
    """All operations, in the order of their declaration."""

    def __init__(self, bp: Blueprint) -> None:
        self.operations: list[Operation] = []
        self._bp = bp

    def operation(
        self,
        method: str,
        path: str,
        *,
        summary: str,
        answer: Any = None,
        status: int = 200,
        scope: str | None = None,
        query: type[Struct] | None = None,
        body: type[Struct] | None = None,
        refusals: tuple[str, ...] = (),
        example: Any = None,
        given: Any = None,
        asked: str = "",
        link: str = "",
    ) -> Callable[[Handler], Handler]:
        """Declare an operation. Its handler gets the request, what the path holds, and what is asked for by name:
        token, query, body; it returns the answer."""

        def decorate(handler: Handler) -> Handler:
            one = Operation(
                method=method,
                path=path,
                name=handler.__name__,
                summary=summary,
                description=" ".join((handler.__doc__ or "").split()),
                scope=scope,
                query=query,
                body=body,
                answer=answer,
                status=status,
                refusals=refusals,
                example=example,
                given=given,
                asked=asked,
                link=link,
            )
            self.operations.append(one)

            @wraps(handler)
            async def run(request: Request, **matched: Any) -> HTTPResponse:
                if scope:
                    matched["token"] = await guard.allow(request, scope)
                if query:
                    matched["query"] = read_query(request, query)
                if body:
                    matched["body"] = read_body(request, body)
                return _respond(request, one, await handler(request, **matched))

            methods = ("GET", "HEAD") if method == "GET" else (method,)
            self._bp.route(path, methods, name=handler.__name__)(run)
            return handler

        return decorate

    def add_preflights(self) -> None:
        """Answer OPTIONS on every path: from any site, anything may be asked that needs no cookie."""
        for path in dict.fromkeys(one.path for one in self.operations):
            methods = [one.method for one in self.operations if one.path == path]
            allow = ", ".join([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])

            async def options(_request: Request, allow: str = allow, **_: Any) -> HTTPResponse:
                return empty(headers={**PREFLIGHT, "Allow": allow, "Access-Control-Allow-Methods": allow})

            self._bp.route(path, ("OPTIONS",), name="options" + re.sub(r"\W", "_", path))(options)


def _respond(request: Request, one: Operation, found: Struct | Body | None) -> HTTPResponse:
    if found is None:
        return empty(one.status, headers=EXPOSED)
    if isinstance(found, Struct):
        found = Body(msgspec.json.encode(found), "application/json", vary="Accept-Encoding")
    if one.method == "GET":
        response = found.answer(request)
        response.headers.update(EXPOSED)
        return response
    headers = {**EXPOSED, "Cache-Control": "no-store"}
    return HTTPResponse(found.data, status=one.status, headers=headers, content_type=found.content_type)


def read_query(request: Request, shape: type[Struct]) -> Any:
    """Read the query.

    Raises:
        Refusal: it is not as the shape says; parameters that it does not know are refused as well.
    """
    try:
        pairs = parse_qsl(request.query_string, keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise Refusal("bad-parameter", f"The query is not UTF-8, or has more than {FIELDS} fields.") from None
    kinds = kinds_of(shape)
    given: dict[str, Any] = {}
    for name, value in pairs:
        if kinds.get(name) == "array":
            given.setdefault(name, []).append(value)
        elif name in given:
            raise Refusal("bad-parameter", "Expected it once.", at=name)
        elif kinds.get(name) == "integer" and re.fullmatch(r"-?[0-9]{1,18}", value):
            given[name] = int(value)
        else:
            given[name] = value
    try:
        return msgspec.convert(given, shape)
    except msgspec.ValidationError as error:
        raise invalid("bad-parameter", error) from None


@cache
def kinds_of(shape: type[Struct]) -> dict[str, str]:
    """Return the JSON types of a query's parameters."""
    _, schemas = msgspec.json.schema_components([shape])
    return {name: schema.get("type", "") for name, schema in schemas[shape.__name__]["properties"].items()}


def read_body(request: Request, shape: type[Struct]) -> Any:
    """Read a JSON body.

    Raises:
        Refusal: it is too large, no JSON, or not as the shape says.
    """
    if len(request.body) > LONGEST:
        said = f"The body has {len(request.body)} bytes: expected at most {LONGEST}."
        raise Refusal("too-large", said)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal("not-json", f"Content-Type: {kind[:80] or 'none'}: expected application/json.")
    try:
        return msgspec.json.decode(request.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if isinstance(error, msgspec.DecodeError):
            raise invalid("bad-body", error) from None
        raise Refusal("bad-body", "The body is not UTF-8.") from None
