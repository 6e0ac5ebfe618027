"""What a request gets that cannot be answered: a sentence, as a page to who reads pages."""

from __future__ import annotations

import difflib
import logging
from contextlib import suppress

from sanic import HTTPResponse, NotFound, Request, SanicException
from sanic.constants import HTTP_METHODS
from sanic.exceptions import MethodNotAllowed

from bits.web import context
from bits.web.reader import language_of
from bits.web.v1 import problem
from bits.web.words import N_, translate

log = logging.getLogger("bits")

# What somebody may have meant who asked for a page that is not there.
PAGES = (
    "/",
    "/log",
    "/info",
    "/wiki",
    "/blind",
    "/login",
    "/admin",
    "/people",
    "/devices",
    "/announcements",
    "/account",
    "/users",
    "/tokens",
    "/api/v1/",
    "/data",
)

# What Sanic says to people, better said.
SANICS = {"Request body exceeds the size limit": N_("This is more than the server takes at once.")}


async def explain(request: Request, error: Exception) -> HTTPResponse:
    """Answer a request that went wrong."""
    ctx = context.of(request)
    # Kept by nobody: what is not there now may be there soon, and the next reader has another language.
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, SanicException):
        status, sentence = error.status_code, SANICS.get(error.message, error.message)
        headers |= {name: str(value) for name, value in (error.headers or {}).items()}
    else:
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        status, sentence = 500, N_("Something went wrong on our side; it has been logged.")
    if isinstance(error, NotFound) and request.route is None:
        sentence = N_("There is no such page.")
    if isinstance(error, MethodNotAllowed):
        headers.setdefault("Allow", _allowed(request))
        sentence = N_("The method %(method)s is not allowed here.", method=request.method)
    ctx.counters[f'http_errors_total{{status="{status}"}}'] += 1
    if problem.concerns(request):
        ctx.counters[f'api_refused_total{{reason="{problem.kind_of(status, error)}"}}'] += 1
        return problem.answer(status, str(sentence), headers, error)
    if "text/html" not in request.headers.get("accept", ""):
        return HTTPResponse(sentence + "\n", status=status, headers=headers, content_type="text/plain; charset=utf-8")
    language = language_of(request)
    translated = translate(sentence, ctx.renderer.gettext(language))
    page = ctx.renderer.page(
        "error.html",
        language,
        current="",
        code=status,
        title=str(status),
        text=translated,
        # What has no translation, since it is none of our sentences, is English for a screen reader too.
        text_language="en" if translated == sentence else language,
        meant=difflib.get_close_matches(request.path, PAGES, n=1, cutoff=0.7) if status == 404 else [],
    )
    return HTTPResponse(page.data, status=status, headers=headers, content_type=page.content_type)


def _allowed(request: Request) -> str:
    """Return the methods of a path: where it holds a parameter, Sanic's own refusal does not tell them."""
    found = []
    for method in HTTP_METHODS:
        with suppress(SanicException):
            request.app.router.get(request.path, method, request.headers.getone("host", None))
            found.append(str(method))
    return ", ".join(found)
