"""No string of the pages is missing in any language, and none is left over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import bits.web
from bits.web.render import LANGUAGES

WEB = Path(bits.web.__file__).parent


def texts() -> set[str]:
    found = extract_from_dir(
        WEB,
        method_map=[("templates/**.html", "jinja2"), ("*.py", "python")],
        options_map={"templates/**.html": {"trim_blocks": "true", "lstrip_blocks": "true", "newstyle_gettext": "true"}},
    )
    return {str(message) for _, _, message, _, _ in found}


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_a_catalogue_is_complete(language: str) -> None:
    with (WEB / "locale" / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    translated = {str(message.id): str(message.string) for message in catalogue if message.id}
    assert texts() - translated.keys() == set(), "not translated"
    assert translated.keys() - texts() == set(), "no longer used"
    assert [text for text, translation in translated.items() if not translation] == []
    for text, translation in translated.items():
        places = re.compile(r"%\(\w+\)s|\{\w+\}")
        assert sorted(places.findall(text)) == sorted(places.findall(translation)), text


def test_the_extraction_finds_the_texts() -> None:
    assert {"Open", "Sign in", "since {when}, by {who}", "since %(when)s, by %(who)s"} <= texts()
