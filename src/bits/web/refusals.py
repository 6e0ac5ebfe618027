"""Why the wiki refuses something: told beside a field, or above the form where it is no field's."""

from __future__ import annotations

from sanic import Request

from bits.web import context
from bits.web.fields import Fields
from bits.web.reader import language_of
from bits.web.words import N_
from bits.wiki import COMMENT_LENGTH, FILE_BYTES, PAGE_BYTES, QUERY_LENGTH, TITLE_LENGTH

# By its name: the field, the sentence, and how much would do.
REFUSALS = {
    "empty": ("text", N_("There is no text."), 0),
    "too-long": ("text", N_("The text is too long: a page has at most %(most)s KiB."), PAGE_BYTES // 2**10),
    "too-tangled": (
        "text",
        N_("The text has too many brackets, links or cells of tables, or nests too deeply."),
        0,
    ),
    "bad-characters": ("text", N_("The text holds characters that cannot be shown."), 0),
    "bad-comment": ("comment", N_("The comment has at most %(most)s characters that can be shown."), COMMENT_LENGTH),
    "locked": ("", N_("This page is locked: only administrators may change it."), 0),
    "signed-out": (
        "",
        N_("You are signed out. Nothing is lost: sign in in another window, then save here once more."),
        0,
    ),
    "old-form": ("", N_("You have signed in anew since this form was opened. Nothing is lost: save once more."), 0),
    "conflict": ("", N_("Somebody else has changed this page meanwhile."), 0),
    "bad-title": (
        "title",
        N_("A title has 1 to %(most)s characters, with Latin letters or digits among them."),
        TITLE_LENGTH,
    ),
    "long-query": ("q", N_("Look for at most %(most)s characters."), QUERY_LENGTH),
    "no-file": ("file", N_("Choose a picture first."), 0),
    "too-large": ("file", N_("The picture is too large: it may have %(most)s MiB."), FILE_BYTES // 2**20),
    "no-picture": ("file", N_("This is no PNG, JPEG, GIF or WebP picture that can be read."), 0),
    "too-many-pixels": ("file", N_("The picture has too many pixels: make it smaller."), 0),
    "full": ("file", N_("There is no room for more pictures: an administrator may delete some."), 0),
    "bad-form": ("file", N_("This form cannot be read."), 0),
}


def sentence(request: Request, reason: str) -> str:
    """Say a reason in the reader's language."""
    _, said, most = REFUSALS[reason]
    return context.of(request).renderer.gettext(language_of(request))(said) % {"most": most}


def refused(request: Request, reason: str, what: str = "wiki") -> Fields:
    """Count a refusal, and return the form with it."""
    form = Fields(request, what)
    form.refuse("file" if what == "uploads" else REFUSALS[reason][0], reason, sentence(request, reason))
    return form
