"""Pages and answers over HTTP."""

from __future__ import annotations

import gzip
import json
import re
import urllib.request
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import HTTPError
from zoneinfo import ZoneInfo

import pytest

from bits.web.body import accepts_gzip
from bits.web.errors import PAGES
from bits.web.markup import render
from bits.web.render import negotiate
from tests.conftest import WAIT, Server

Make = Callable[..., Server]


def test_status_is_one_byte(server: Server) -> None:
    assert server.get("/status")[2] == b"0"
    server.say("status 1")
    status, headers, body = server.get("/status")
    assert (status, body, headers["content-type"]) == (200, b"1", "text/plain")
    server.say("status 0")
    assert server.get("/status")[2] == b"0"


def test_log_is_newest_first_and_paged(server: Server) -> None:
    for n in range(7):
        server.say(f"status {n % 2}")
    log = server.json("/log?format=json")["log"]
    assert [entry["value"] for entry in log] == ["closed", "open"] * 3 + ["closed"]
    assert list(log[0]) == ["timestamp", "modifiedby", "value"]
    assert server.json("/log?format=json&offset=2&limit=3")["log"] == log[2:5]
    stamp = server.json("/log?format=json&limit=1&timestamps=iso")["log"][0]["timestamp"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", stamp)
    page = server.get("/log?limit=3&offset=3")[2].decode()
    assert page.count("<tr>") == 4
    assert 'href="/log?offset=6&amp;limit=3"' in page
    assert 'href="/log?offset=0&amp;limit=3"' in page


@pytest.mark.parametrize(
    "path",
    [
        "/log?offset=-1",
        "/log?offset=x",
        "/log?limit=0",
        "/log?limit=501",
        "/log?limit=1e3",
        "/log?limit=" + "9" * 400,
        "/log?offset=%D9%A3",  # a digit, but no number
        "/log?format=xml",
        "/data?timestamps=unix",
        "/ws?since=-1",
        "/ws?timestamps=x",
    ],
)
def test_parameters_out_of_range_are_400_with_a_sentence(server: Server, path: str) -> None:
    status, headers, body = server.get(path)
    assert status == 400
    assert headers["content-type"].startswith("text/plain")
    assert re.search(rb"expected [a-z0-9 ]+\.", body), body
    assert len(body) < 200
    assert server.metric('http_errors_total{status="400"}') == 1


def test_what_has_not_changed_is_not_sent_again(server: Server) -> None:
    for path in ("/data", "/", "/log", "/info"):
        status, headers, body = server.get(path)
        assert status == 200
        assert server.get(path, If_None_Match=headers["etag"])[::2] == (304, b"")
        assert server.get(path, If_None_Match='"other", ' + headers["etag"])[0] == 304
        assert server.get(path, If_None_Match='"other"')[2] == body
    before = server.get("/data")[1]["etag"]
    server.say("status 1")
    assert server.get("/data", If_None_Match=before)[0] == 200


def test_what_is_large_is_compressed_for_who_can_read_it(server: Server) -> None:
    server.say(*(f"temperature 0 {n}" for n in range(100)))
    for path in ("/", "/data"):
        plain = server.get(path)
        packed = server.get(path, Accept_Encoding="br, gzip;q=0.5")
        assert "content-encoding" not in plain[1]
        assert packed[1]["content-encoding"] == "gzip"
        assert gzip.decompress(packed[2]) == plain[2]
        assert len(packed[2]) < len(plain[2]) / 2
        assert "content-encoding" not in server.get(path, Accept_Encoding="gzip;q=0")[1]
    assert "content-encoding" not in server.get("/status", Accept_Encoding="gzip")[1]


def test_head_answers_like_get_without_the_body(server: Server) -> None:
    import urllib.request

    for path in ("/", "/status", "/data", "/log", "/info"):
        with urllib.request.urlopen(urllib.request.Request(server.url + path, method="HEAD"), timeout=10) as answer:
            assert answer.status == 200
            assert answer.read() == b""
            assert int(answer.headers["content-length"]) == len(server.get(path)[2])


def test_assets_have_their_hash_in_the_name_and_are_kept_for_ever(server: Server) -> None:
    page = server.get("/")[2].decode()
    assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(assets) == 3
    for asset in assets:
        status, headers, _ = server.get(asset)
        assert status == 200
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        assert re.search(r"-[A-Z0-9]{8}\.(js|css|svg)$", asset)
    assert server.get("/static/manifest.json")[0] == 404
    assert server.get("/static/..%2f..%2fconfig.py")[0] == 404


def test_the_local_clock_for_the_router(make_server: Make) -> None:
    zone = ZoneInfo("Pacific/Auckland")
    server = make_server(time_zone=zone.key)
    _, headers, body = server.get("/data.php")
    shown = datetime.strptime(body.decode(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone)
    assert abs((datetime.now(zone) - shown).total_seconds()) < 5
    assert parsedate_to_datetime(headers["date"]) == shown


def test_the_page_shows_everything_without_scripts(make_server: Make) -> None:
    server = make_server(
        space_name="POuL <b>",
        space_place="Milano",
        space_links="Wiki=https://example.org/wiki",
        sensor_names="0=Lab",
        time_zone="Europe/Rome",
    )
    server.say("status 1", "temperature 0 21.46", "message PGI+Q2lhbzwvYj4=", "enter 1", "enter 2")
    page = server.get("/")[2].decode()
    visible = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert '<h1 id="status">Open</h1>' in visible
    assert "by the button" in visible
    assert "Lab" in visible
    assert "21.5 °C" in visible
    assert "&lt;b&gt;Ciao&lt;/b&gt;" in visible
    assert "<b>Ciao" not in page
    assert "2 people are here" in visible
    assert "POuL &lt;b&gt;" in visible
    assert '<a href="https://example.org/wiki">Wiki</a>' in visible
    assert 'data-time-zone="Europe/Rome"' in page
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert block
    assert json.loads(block[1]) == server.json("/data")


def test_the_page_speaks_the_readers_language(server: Server) -> None:
    server.say("status 1", "temperature 0 21.5")
    italian = server.get("/", Accept_Language="it-IT,it;q=0.9,en;q=0.5")
    assert '<html lang="it"' in italian[2].decode()
    assert ">Aperto</h1>" in italian[2].decode()
    assert "21,5 °C" in italian[2].decode()
    assert "Accept-Language" in italian[1]["vary"]
    assert ">Open</h1>" in server.get("/", Accept_Language="ja")[2].decode()


def test_silence_is_said_on_the_page(server: Server) -> None:
    page = server.get("/")[2].decode()
    assert ">Unknown</h1>" in page
    assert "The board has never been heard." in page


def test_pages_carry_a_policy_that_forbids_foreign_scripts(server: Server) -> None:
    headers = server.get("/")[1]
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    for path in ("/", "/log", "/info", "/login"):
        page = server.get(path)[2].decode()
        assert not re.search(r"\sstyle=|\son\w+=", page), f"{path} holds what its own policy forbids"


def test_any_site_may_read_the_state(server: Server) -> None:
    for path in ("/data", "/status"):
        assert server.get(path)[1]["access-control-allow-origin"] == "*"


def test_errors_are_pages_for_people_and_text_for_programs(server: Server) -> None:
    assert server.get("/nope")[0] == 404
    assert server.get("/nope")[1]["content-type"] == "text/plain; charset=utf-8"
    assert server.get("/nope")[1]["cache-control"] == "no-store"
    status, headers, page = server.get("/nope", Accept="text/html", Accept_Language="it")
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "Questa pagina non esiste" in page.decode()


def test_an_unknown_page_helps_on(server: Server) -> None:
    page = server.get("/lgo", Accept="text/html")[2].decode()
    assert 'Did you mean <a href="/log">/log</a>?' in page
    assert "Did you mean" not in server.get("/%3Cscript%3E", Accept="text/html")[2].decode()
    assert "Che cosa è successo finora" in server.get("/x", Accept="text/html", Accept_Language="it")[2].decode()


REFUSED = {
    "/log?limit=0": "limit=0: serve un numero intero da 1 a 500.",
    "/log?format=xml": "format=xml: serve html o json.",
    "/log?before=x": "before=x: serve una posizione, come la danno i collegamenti dello storico.",
    "/log?offset=1&after=1-1": "offset, before, after: ne serve uno solo.",
    "/log.csv?day=x": "day=x: serve una data, come 2026-03-02.",
    "/badge.svg?label=" + 41 * "x": "label: servono al massimo 40 caratteri stampabili.",
    "/temperatures?since=1&span=day": "span, since: ne serve uno solo.",
    "/temperatures?since=5&until=6": "since=5, until=6: tra l’uno e l’altro serve da 1 secondo a",
    "/static/nothing": "Questo file non esiste.",
    "/icon/nothing": "Questa icona non esiste.",
    "/sitemap.xml": "Non c’è una mappa del sito: public_url non è impostato.",
}


def test_a_refusal_speaks_the_language_of_who_reads_it(server: Server) -> None:
    for path, sentence in REFUSED.items():
        page = server.get(path, Accept="text/html", Accept_Language="it")[2].decode()
        assert f'<p lang="it">{sentence}' in page, path
    # Programs read English.
    assert server.get("/log?limit=0", Accept_Language="it")[2] == b"limit=0: expected a whole number from 1 to 500.\n"
    assert '<p lang="en">limit=0: expected' in server.get("/log?limit=0", Accept="text/html")[2].decode()
    page = server.get("/log?limit=%3Cb%3E", Accept="text/html", Accept_Language="fr")[2].decode()
    assert "limit=&lt;b&gt;\N{NO-BREAK SPACE}: il faut un nombre entier" in page


def test_a_method_that_a_page_does_not_know(server: Server) -> None:
    request = urllib.request.Request(
        f"{server.url}/log", method="POST", headers={"Accept": "text/html", "Accept-Language": "de"}
    )
    with pytest.raises(HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=WAIT)
    assert refusal.value.code == 405
    assert set(refusal.value.headers["Allow"].split(", ")) == {"GET", "HEAD"}
    assert '<p lang="de">Die Methode POST ist hier nicht erlaubt.</p>' in refusal.value.read().decode()
    refusal.value.close()


def test_the_pages_that_are_suggested_are_there(server: Server) -> None:
    for path in PAGES:
        assert server.get(path, Accept="text/html")[0] == 200, path


def test_info_is_the_own_page_where_there_is_one(make_server: Make, tmp_path: Path) -> None:
    (tmp_path / "info.md").write_text("# Our *place*\n\nCome in! <script>alert(1)</script> [x](javascript:alert(1))")
    page = make_server(pages_dir=str(tmp_path)).get("/info")[2].decode()
    assert "<title>Our place – BITS</title>" in page
    assert "<em>place</em>" in page
    assert "&lt;script&gt;alert(1)" in page
    assert 'href="javascript:' not in page


def test_the_shipped_info_page(make_server: Make) -> None:
    page = make_server(space_name="POuL").get("/info")[2].decode()
    assert "About POuL" in page
    assert "<table" in page


class Tags(HTMLParser):
    """What a browser would see: the elements and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))


@pytest.mark.parametrize("escape", [True, False])
@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        '<a href="javascript:alert(1)">x</a>',
        "<svg onload=alert(1)>",
        "<iframe src=//evil></iframe>",
        "<math><mtext></table><mglyph><style><img src=x onerror=alert(1)>",
        '![x](x"onerror="alert(1))',
        "<details open ontoggle=alert(1)>",
        "```html\n<script>alert(1)</script>\n```",
    ],
)
def test_markdown_is_safe_whatever_it_holds(attack: str, escape: bool) -> None:
    rendered = render(f"before\n\n{attack}\n\nafter", escape=escape).html
    found = Tags()
    found.feed(rendered)
    found.close()
    assert not {"script", "iframe", "svg", "math", "style", "base", "form"} & {tag for tag, _ in found.tags}
    for _, attributes in found.tags:
        for name, value in attributes:
            assert not name.startswith("on")
            assert name != "style"
            assert not re.match(r"\s*(javascript|data|vbscript):", value or "", re.IGNORECASE)
    assert "before" in rendered
    if escape:
        assert "after" in rendered


def test_raw_html_is_shown_or_kept_as_configured() -> None:
    assert "&lt;b&gt;" in render("a <b>bold</b> word", escape=True).html
    assert "<b>bold</b>" in render("a <b>bold</b> word", escape=False).html


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("it", "it"),
        ("it-CH, de;q=0.9", "it"),
        ("de-AT", "de"),
        ("fr-CA, en;q=0.9", "fr"),
        ("ja, it;q=0.3, en;q=0.2", "it"),
        ("en;q=0.1, it;q=0.9", "it"),
        ("it;q=0", "en"),
        ("it;q=nonsense, en", "en"),
        ("*", "en"),
        ("," * 5000, "en"),
    ],
)
def test_languages(header: str, language: str) -> None:
    assert negotiate(header) == language


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("br, gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0.1", True),
        ("*", True),
        ("identity", False),
    ],
)
def test_accept_encoding(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
