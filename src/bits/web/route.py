"""Routes that are read: GET, and HEAD, which Sanic does not add by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from sanic import Blueprint, HTTPResponse, Request

Handler = Callable[..., Awaitable[HTTPResponse]]


def get(blueprint: Blueprint, path: str) -> Callable[[Handler], Handler]:
    return cast(Callable[[Handler], Handler], blueprint.route(path, ("GET", "HEAD")))


def field(request: Request, name: str) -> str:
    """Return a field of a form; empty where it is missing."""
    form = request.form
    return str(form.get(name) or "") if form else ""
