"""Routes that are read: GET, and HEAD, which Sanic does not add by itself; and fields of forms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import parse_qs

from sanic import Blueprint, HTTPResponse, Request

Handler = Callable[..., Awaitable[HTTPResponse]]


def get(blueprint: Blueprint, path: str) -> Callable[[Handler], Handler]:
    return cast(Callable[[Handler], Handler], blueprint.route(path, ("GET", "HEAD")))


FIELDS = 32  # of a form, at most: the largest of ours has a quarter of that


def form(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form, read once. Sanic's own reader logs a traceback for every form that is none.

    Raises:
        ValueError: it is not UTF-8, or has too many fields.
    """
    if not hasattr(request.ctx, "form"):
        request.ctx.form = parse_qs(request.body.decode(), keep_blank_values=True, max_num_fields=FIELDS)
    return cast(dict[str, list[str]], request.ctx.form)


def field(request: Request, name: str) -> str:
    """Return a field of a form; empty where it is missing, or there is no form."""
    try:
        return form(request).get(name, [""])[0]
    except ValueError:
        return ""
