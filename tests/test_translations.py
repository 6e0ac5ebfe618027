"""No string of the pages is missing in any language, none is left over, and a word is the same everywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pytest
from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from bits.web.render import HERE, LANGUAGES
from bits.web.words import N_, translate
from tests.conftest import ROOT

PLACES = re.compile(r"%\(\w+\)s|\{\w+\}|%%")


def texts() -> set[object]:
    """What `make messages` finds; of a text with a plural, both."""
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    found = extract_from_dir(HERE, method_map=methods, options_map=options)
    return {message if isinstance(message, str) else tuple(message) for _, _, message, _, _ in found}


def catalogue_of(language: str) -> Catalog:
    with (HERE / "locale" / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=language)


def forms(text: object) -> list[str]:
    """The forms of a text: one, or as many as there are plurals."""
    if isinstance(text, str):
        return [text]
    return [str(form) for form in text] if isinstance(text, Iterable) else []


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_a_catalogue_is_complete(language: str) -> None:
    catalogue = catalogue_of(language)
    messages = {message.id: message for message in catalogue if message.id}
    assert texts() - messages.keys() == set(), "not translated"
    assert messages.keys() - texts() == set(), "no longer used"
    for text, message in messages.items():
        assert not message.fuzzy, text
        assert len(forms(message.string)) == (1 if isinstance(text, str) else catalogue.num_plurals), text
        for form in forms(message.string):
            assert form, text
            # The singular may do without the number.
            known = sorted(PLACES.findall(forms(text)[-1]))
            assert sorted(PLACES.findall(form)) in (known, sorted(PLACES.findall(forms(text)[0]))), text


def test_the_extraction_finds_the_texts() -> None:
    assert {"Open", "Sign in", "since {when}, by {who}", "since %(when)s, by %(who)s"} <= texts()
    assert ("One page", "%(count)s pages") in texts()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_status_has_one_word(language: str) -> None:
    """On the site, in the widgets on other people's pages, and in the browser extension."""
    catalogue = catalogue_of(language) if language != "en" else None

    def said(text: str) -> object:
        return catalogue[text].string if catalogue else text

    site = {name: said(name.capitalize()) for name in ("open", "closed", "away", "unknown")}
    script = (HERE / "client" / "widget.ts").read_text("utf-8")
    line = re.search(rf"^  {language}: \{{ (.*) \}},$", script, re.MULTILINE)
    assert line
    widget = dict(re.findall(r'(\w+): "([^"]*)"', line[1]))
    assert {name: widget[name] for name in site} == site
    assert widget["silent"] == said("the board is silent")
    locale = ROOT / "clients" / "webextension" / "_locales" / language / "messages.json"
    extension = json.loads(locale.read_text("utf-8"))
    assert {name: extension[name]["message"] for name in site} == site


def test_a_sentence_is_translated_before_it_is_filled_in() -> None:
    sentence = N_("%(name)s=%(given)s: expected %(choices)s.", name="format", given="%(x)s", choices=("html", "json"))
    assert sentence == "format=%(x)s: expected html or json."
    german = catalogue_of("de")

    def gettext(text: str) -> str:
        return str(german[text].string)

    assert translate(sentence, gettext) == "format=%(x)s: Erwartet wird html oder json."
    assert translate(N_("There is no such page."), gettext) == "Diese Seite gibt es nicht."
