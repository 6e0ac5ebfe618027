"""The wiki: what members write, what everybody reads, and what nobody can smuggle in."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from difflib import SequenceMatcher
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageSequence
from PIL.JpegImagePlugin import JpegImageFile

from bits.store import Store
from bits.web.body import Body
from bits.web.differences import SHOWN, differences
from bits.web.markup import ATTRIBUTES, SCHEMES, Rendered, render, title_of
from bits.web.pictures import read_picture
from bits.web.route import field
from bits.web.wiki import Shelf
from bits.wiki import FILE_BYTES, MARK, PAGE_BYTES, UNMARK, Conflict, Head, Wiki, WikiError, check_slug, slug_of, tidy
from tests.conftest import T0, Server
from tests.test_admin import PASSWORD, SECRET, Browser

# --- what may be in a page

ATTACKS = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<script\x0b>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=x onerror\n=\nalert(1)//",
    "<img/src='x'/onerror=alert(1)>",
    "<img src=`x` onerror=alert(1)>",
    "<IMG SRC=\"jav&#x09;ascript:alert('1');\">",
    '<img src="data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+">',
    "<img srcset='x onerror=alert(1)'>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    '<svg><a xlink:href="javascript:alert(1)"><text x=20 y=20>x</text></a></svg>',
    '<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">',
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
    '<math><mi//xlink:href="data:x,<script>alert(1)</script>">',
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "<template><img src=x onerror=alert(1)></template>",
    "<iframe src=javascript:alert(1)></iframe>",
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<input autofocus onfocus=alert(1)>",
    "<form action=javascript:alert(1)><button>x</button></form>",
    "<button formaction=javascript:alert(1)>x</button>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<marquee onstart=alert(1)>x</marquee>",
    '<p style="background:url(javascript:alert(1))">x</p>',
    "<p id=edit class=notice style='position:fixed'>x</p>",
    "<style>@import '//evil.example/x.css';</style>",
    "<!--[if gte IE 4]><script>alert(1)</script><![endif]-->",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    '<?xml version="1.0"?><script>alert(1)</script>',
    '<a href="javascript:alert(1)">x</a>',
    '<a href=" &#14; javascript:alert(1)">x</a>',
    '<a href="java\nscript:alert(1)">x</a>',
    '<a href="&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;alert(1)">x</a>',
    '<a href="vbscript:msgbox(1)">x</a>',
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='https://x' onmouseover=alert(1) target=_blank>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](java&#x09;script:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x](<java\tscript:alert(1)>)",
    "[x]( javascript:alert(1) )",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](file:///etc/passwd)",
    '[x](https://a.example "t" onmouseover=alert(1) x=")',
    "[x](https://a.example '\"><img src=x onerror=alert(1)>')",
    '[x](https://a.example/"onmouseover="alert(1))',
    "[x]: javascript:alert(1)\n\n[x]",
    '[x]: https://a.example "\\"><script>alert(1)</script>"\n\n[x]',
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+)",
    '![x" onerror="alert(1)](https://a.example/x.png)',
    '![x](https://a.example/x.png"onerror="alert(1))',
    "![x](https://a.example/x.png '\" onerror=alert(1)')",
    "<javascript:alert(1)>",
    '<https://a.example/"onclick=alert(1)>',
    "[[javascript:alert(1)]]",
    "[[x|<script>alert(1)</script>]]",
    '[[x" onmouseover="alert(1)|y]]',
    "[[<img src=x onerror=alert(1)>]]",
    "[[x|![y](javascript:alert(1))]]",
    "[a [[b]] c](https://a.example)",
    '```"><script>alert(1)</script>\nx\n```',
    '``` x" onmouseover="alert(1)\nx\n```',
    "```\n</code></pre><script>alert(1)</script>\n```",
    "`</code><script>alert(1)</script>`",
    "    </code></pre><script>alert(1)</script>",
    "| a |\n| :-: |\n| <script>alert(1)</script> |",
    "# <script>alert(1)</script>",
    "<b>open\n\n<i>and never closed",
    "</article></main><script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\x02<mark onclick=alert(1)>\x03",
]


class Elements(HTMLParser):
    """Every element a browser would make, with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        pytest.fail(f"a declaration: {decl}")

    def handle_pi(self, data: str) -> None:
        pytest.fail(f"an instruction: {data}")


def check(html: str) -> None:
    for tag, attributes in Elements(html).found:
        assert tag in ATTRIBUTES, (tag, html)
        for name, value in attributes.items():
            if name == "rel":
                assert (tag, value) == ("a", "noopener noreferrer")
            elif name == "class":
                assert (tag, value) == ("a", "missing")
            elif name == "tabindex":
                assert (tag, value) == ("table", "0")
            else:
                assert name in ATTRIBUTES[tag], (tag, name, html)
            if name in ("href", "src"):
                # As browsers read it: without controls and blanks around, and none of these within.
                plain = re.sub(r"[\t\n\r]", "", value).strip("".join(map(chr, range(33))))
                scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*):", plain)
                assert not scheme or scheme[1].lower() in SCHEMES, value


@pytest.mark.parametrize("escape", [True, False])
@pytest.mark.parametrize("attack", ATTACKS)
def test_only_what_is_allowed_is_left_of_an_attack(attack: str, escape: bool) -> None:
    for source in (attack, f"before {attack} after", f"> - {attack}\n\nafter", f"<p>\n{attack}"):
        check(render(source, escape=escape).html)


FRAGMENTS = st.sampled_from(
    [
        *ATTACKS,
        "[[",
        "]]",
        "|",
        "`",
        "```",
        "\n",
        "\n\n",
        "    ",
        "> ",
        "<",
        ">",
        '"',
        "'",
        "&",
        "*",
        "_",
        "](",
        "![",
        ")",
    ]
)


@given(st.lists(st.one_of(FRAGMENTS, st.text(max_size=8)), max_size=12), st.booleans())
@settings(max_examples=150, deadline=None)
def test_only_what_is_allowed_is_left_of_any_mixture(parts: list[str], escape: bool) -> None:
    check(render("".join(parts), escape=escape).html)


def test_markdown_becomes_html() -> None:
    html = render(
        "# The *best* `page`\n\n[[Other page]] [[other-page|words]] [[info]] [[???]]\n\n```python\na < b\n```\n\n"
        "| a | b |\n| - | -: |\n| 1 | 2 |\n\n![a door](/wiki/files/x.png) ~~old~~ <b>",
        escape=True,
        pages={"info"},
    )
    assert (html.title, html.has_h1) == ("The best page", True)
    assert '<a class="missing" href="/wiki/other-page"' in html.html
    assert ">Other page</a>" in html.html and ">words</a>" in html.html
    assert '<a href="/info" rel=' in html.html
    assert "[[???]]" in html.html
    assert "<code>a &lt; b\n</code>" in html.html
    assert '<td align="right">2</td>' in html.html
    assert '<img alt="a door" src="/wiki/files/x.png">' in html.html
    assert "<s>old</s> &lt;b&gt;" in html.html
    assert title_of(render("no heading", escape=True), "some-page") == "Some page"


@pytest.mark.parametrize(
    "source",
    [
        "[" * 20_000,
        "> " * 20_000,
        "*a_" * 9_000,
        "- " * 20_000,
        "![](" * 9_000,
        "`a" * 15_000,
        "a\n=\n" * 9_000,
        "<a " * 9_000,
    ],
)
def test_no_text_is_too_deep(source: str) -> None:
    try:
        check(render(source, escape=True).html)
    except WikiError as error:
        assert error.reason == "too-tangled"


@pytest.mark.parametrize(
    "source",
    [
        "[a]: /" + "x" * 20_000 + "\n\n" + "[a]\n" * 10_000,
        "[a]: /" + "x" * 20_000 + "\n\n" + "[a]\n\n" * 1900,
        "|a" * 4000 + "|\n" + "|-" * 4000 + "|\n" + "|x\n" * 12_000,
    ],
)
def test_a_short_text_does_not_become_a_page_of_gigabytes(source: str) -> None:
    with pytest.raises(WikiError, match="too-tangled"):
        render(source, escape=True)


def test_addresses() -> None:
    assert slug_of("Come ti chiami?  È già qui!") == "come-ti-chiami-e-gia-qui"
    assert slug_of("???") == slug_of("Files") == ""
    assert check_slug("a-1") == "a-1"
    for slug in ("", "A", "a--b", "-a", "a-", "a/b", "..", "à", "new", "a" * 65, "a\n"):
        with pytest.raises(WikiError, match="bad-slug"):
            check_slug(slug)


def test_texts() -> None:
    assert tidy("\n a \r\nb\rc  \n\n") == " a\nb\nc\n"
    for source, reason in (
        ("\n \n", "empty"),
        ("a\0", "bad-characters"),
        ("a\x02", "bad-characters"),
        ("a\ud800", "bad-characters"),
        ("a\0" * PAGE_BYTES, "too-long"),  # which is found first
    ):
        with pytest.raises(WikiError, match=reason):
            tidy(source)
    tidy("è" * (PAGE_BYTES // 2 - 1))
    tidy("a\r\n" * (PAGE_BYTES // 2))
    with pytest.raises(WikiError, match="too-long"):
        tidy("è" * (PAGE_BYTES // 2))


def test_a_form_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def count(*given: Any, **options: Any) -> Any:
        read.append(1)
        return parse_qs(*given, **options)

    monkeypatch.setattr("bits.web.route.parse_qs", count)
    request: Any = SimpleNamespace(body=b"a=1&b=2", ctx=SimpleNamespace())
    assert [field(request, name) for name in "abc"] == ["1", "2", ""]
    assert len(read) == 1


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30))
def test_differences_are_those_between_the_texts(old: list[str], new: list[str]) -> None:
    shown = differences("\n".join(old), "\n".join(new))
    assert bool(shown) == (old != new and "\n".join(old) != "\n".join(new))
    if not any(line.kind == "gap" for line in shown) and shown:
        before = [line.text for line in shown if line.kind != "ins"]
        after = [line.text for line in shown if line.kind != "del"]
        assert "\n".join(before) in "\n".join(old)
        assert "\n".join(after) in "\n".join(new)


def test_differences_leave_out_what_is_the_same() -> None:
    old = [str(n) for n in range(100)]
    shown = differences("\n".join(old), "\n".join([*old[:50], "new", *old[51:]]))
    assert [line.kind for line in shown] == ["same"] * 3 + ["del", "ins"] + ["same"] * 3
    many = differences("\n".join("a" + str(n) for n in range(3000)), "\n".join("b" + str(n) for n in range(3000)))
    assert [line.kind for line in many] == ["del"] * SHOWN + ["more"]
    # Equal ends do not count among what is compared; so this is not shown as all replaced.
    old = [str(n) for n in range(10_000)]
    shown = differences("\n".join(old), "\n".join([*old[:5000], "new", *old[5001:]]))
    assert [line.kind for line in shown] == ["same"] * 3 + ["del", "ins"] + ["same"] * 3


def test_comparing_takes_no_longer_than_the_limit_allows() -> None:
    compared = []

    class Matcher(SequenceMatcher[str]):
        def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Any:
            compared.append(1)
            return super().find_longest_match(alo, ahi, blo, bhi)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bits.web.differences.SequenceMatcher", Matcher)
        differences("x\n" + "a\nb\n" * 500, "y\n" + "b\na\n" * 500 + "y")
        assert not compared
        differences("x\n" + "a\nb\n" * 50, "y\n" + "b\na\n" * 50 + "y")
        assert compared


async def test_however_many_read_a_page_it_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []

    async def slow(ctx: Any, source: str) -> Rendered:
        rendered.append(source)
        await asyncio.sleep(0)
        return render(source, escape=True)

    async def text(slug: str) -> str:
        await asyncio.sleep(0)
        return f"# {slug}"

    monkeypatch.setattr("bits.web.wiki._render", slow)
    page = SimpleNamespace(page=lambda *_, **given: Body(str(given["rendered"].html).encode(), "text/html"))
    ctx: Any = SimpleNamespace(wiki=SimpleNamespace(text=text), renderer=page)
    shelf = Shelf()

    async def read(slug: str, version: int, done: str = "") -> None:
        head = Head(slug, 1, slug, False, T0, version)
        bodies = await asyncio.gather(*(shelf.body(ctx, head, "en", is_member=n % 2 > 0, done=done) for n in range(40)))
        assert {body.data for body in bodies} == {f"<h1>{slug}</h1>".encode()}

    await read("a", 1, "saved")
    await read("a", 1)
    assert rendered == ["# a"]
    await asyncio.gather(read("a", 2), read("b", 2))
    assert sorted(rendered) == ["# a", "# a", "# b"]


# --- pictures


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    out = BytesIO()
    Image.new("RGB", size, "teal").save(out, kind, **options)
    return out.getvalue()


def animation(kind: str, **options: Any) -> bytes:
    out = BytesIO()
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "green", "blue")]
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=100, loop=3, **options)
    return out.getvalue()


def colours(data: bytes) -> list[Any]:
    with Image.open(BytesIO(data)) as image:
        return [frame.convert("RGBA").getpixel((1, 1)) for frame in ImageSequence.Iterator(image)]


def test_a_picture_is_what_can_be_read_of_it() -> None:
    for kind, ending in (("PNG", "png"), ("JPEG", "jpg"), ("GIF", "gif"), ("WEBP", "webp")):
        data = picture(kind)
        read = read_picture(data)
        assert (read.kind, colours(read.data)) == (ending, colours(data))
        assert read_picture(data, bare=False).data == data
    for kind in ("PNG", "GIF", "WEBP"):
        assert read_picture(animation(kind)).data == animation(kind)


def test_a_picture_looks_as_it_did() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.effect_noise((64, 48), 90)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"):
        before = Image.new(mode, noise.size) if mode == "I;16" else noise.convert(mode)
        for kind in {"LA": ("PNG",), "P": ("PNG", "GIF"), "CMYK": ("JPEG",), "L": ("PNG", "JPEG")}.get(mode, ("PNG",)):
            out = BytesIO()
            before.save(out, kind, icc_profile=profile, quality=80)
            read = read_picture(out.getvalue())
            with Image.open(BytesIO(out.getvalue())) as old, Image.open(BytesIO(read.data)) as new:
                assert (new.mode, new.size) == (old.mode, old.size)
                assert new.info.get("icc_profile") == old.info.get("icc_profile")
                if isinstance(old, JpegImageFile) and isinstance(new, JpegImageFile):
                    assert new.quantization == old.quantization
                    assert len(read.data) < len(out.getvalue()) * 1.1
                else:
                    assert new.tobytes() == old.tobytes()
    clear = Image.new("P", (8, 6))
    clear.putpalette([0, 0, 0, 255, 0, 0])
    for kind in ("PNG", "GIF"):
        out = BytesIO()
        clear.save(out, kind, transparency=0)
        assert colours(read_picture(out.getvalue()).data) == [(0, 0, 0, 0)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no-file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "no-picture"),
        (b"<html><script>alert(1)</script>", "no-picture"),
        (b"GIF89a<script>alert(1)</script>", "no-picture"),
        (picture()[:-30], "no-picture"),
        (picture("JPEG", (200, 200))[:-100], "no-picture"),
        (picture("BMP"), "no-picture"),
        (picture("TIFF"), "no-picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "no-picture"),
        (picture("PNG", (6000, 6000)), "too-many-pixels"),
        (picture("PNG", (20_000, 20_000)), "too-many-pixels"),
        (b"\0" * (FILE_BYTES + 1), "too-large"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(WikiError, match=f"^{reason}$"):
        read_picture(data)


def test_a_photograph_does_not_tell_where_it_was_taken() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    for kind in ("JPEG", "PNG", "WEBP"):
        taken = picture(kind, (8, 6), exif=exif)
        assert b"Camera" in taken
        read = read_picture(taken)
        with Image.open(BytesIO(read.data)) as image:
            assert not image.getexif()
            assert image.size == (6, 8)
        assert b"Camera" not in read.data
        assert read_picture(read.data, bare=False) == read


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"".join(name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2) for name, data in chunks)


TELLTALE = b"N 44.4949 E 11.3426"


def telling() -> Iterator[tuple[str, bytes]]:
    """Every place of a file in which something can be told that is not to be seen."""
    jpeg = picture("JPEG")
    for name, marker, data in (
        (
            "IPTC",
            0xED,
            b"Photoshop 3.0\x008BIM\x04\x04\0\0"
            + (len(TELLTALE) + 5).to_bytes(4, "big")
            + b"\x1c\x02\x5a\0"
            + bytes([len(TELLTALE)])
            + TELLTALE,
        ),
        ("XMP", 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x>" + TELLTALE + b"</x>"),
        ("a segment of a maker's own", 0xEB, TELLTALE),
        ("a comment", 0xFE, TELLTALE),
    ):
        yield f"JPEG, {name}", jpeg[:2] + bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data + jpeg[2:]
    yield "JPEG, behind the end", jpeg + TELLTALE
    out = BytesIO()
    Image.new("RGB", (8, 6), "teal").save(
        out, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 6), "red")], comment=TELLTALE
    )
    yield "JPEG of several pictures", out.getvalue() + TELLTALE
    for name, png in (("PNG", picture()), ("PNG that moves", animation("PNG"))):
        for kind, data in (
            (b"tEXt", b"Comment\0" + TELLTALE),
            (b"zTXt", b"Comment\0\0" + zlib.compress(TELLTALE, 0)),
            (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + TELLTALE),
            (b"eXIf", b"MM\0*\0\0\0\x08\0\0" + TELLTALE),
            (b"prVt", TELLTALE),
        ):
            yield f"{name}, {kind.decode()}", png[:33] + chunk(kind, data) + png[33:]
        yield f"{name}, behind the end", png + TELLTALE
    for name, webp in (("WebP", picture("WEBP", xmp=TELLTALE)), ("WebP that moves", animation("WEBP", xmp=TELLTALE))):
        yield f"{name}, XMP", webp
    exif = Image.Exif()
    exif[0x010F] = TELLTALE.decode()
    yield "WebP, EXIF", picture("WEBP", exif=exif)
    yield "WebP that moves, EXIF", animation("WEBP", exif=exif)
    moving = animation("WEBP")
    begin = moving.index(b"ANMF")
    size = int.from_bytes(moving[begin + 4 : begin + 8], "little")
    frame = moving[begin + 8 : begin + 8 + size]
    body = b"WEBP" + moving[12:begin] + riff((b"ANMF", frame + riff((b"note", TELLTALE)))) + moving[begin + 8 + size :]
    yield "WebP that moves, within a frame", riff((b"RIFF", body))
    yield "WebP, behind the end", picture("WEBP") + TELLTALE
    for name, gif in (("GIF", picture("GIF")), ("GIF that moves", animation("GIF"))):
        at = 13 + (6 << (gif[10] & 7))
        for block, data in (
            ("a comment", b"!\xfe" + bytes([len(TELLTALE)]) + TELLTALE + b"\0"),
            ("XMP", b"!\xff\x0bXMP DataXMP" + bytes([len(TELLTALE)]) + TELLTALE + b"\0"),
            ("a long loop", b"!\xff\x0bNETSCAPE2.0\x03\1\0\0" + bytes([len(TELLTALE)]) + TELLTALE + b"\0"),
        ):
            yield f"{name}, {block}", gif[:at] + data + gif[at:]
        yield f"{name}, behind the end", gif + TELLTALE


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in telling()])
def test_nothing_is_left_of_a_file_but_what_is_to_be_seen(data: bytes) -> None:
    assert TELLTALE in data
    read = read_picture(data)
    assert TELLTALE not in read.data
    shown = colours(data)[:1] if read.kind == "jpg" else colours(data)
    assert colours(read.data) == shown
    with Image.open(BytesIO(data)) as before, Image.open(BytesIO(read.data)) as after:
        assert after.format == ("JPEG" if read.kind == "jpg" else before.format)
        assert not after.getexif()
        if len(shown) > 1:
            assert after.info["loop"] == before.info["loop"]


# --- the database


def later(seconds: int) -> Any:
    return T0 + timedelta(seconds=seconds)


async def save(wiki: Wiki, slug: str, source: str, base: int = 0, **given: Any) -> Any:
    values: dict[str, Any] = {
        "title": title_of(render(source, escape=True), slug),
        "author": "anna",
        "comment": "",
        "at": T0,
        "admin": False,
    } | given
    return await wiki.save(slug, tidy(source), base=base, **values)


async def test_pages_revisions_and_conflicts(store: Store) -> None:
    wiki = Wiki(store.engine)
    first = await save(wiki, "a", "# One")
    assert await save(wiki, "a", "# One", first.id) is None
    second = await save(wiki, "a", "# Two", first.id, author="bruno", comment="better")
    with pytest.raises(Conflict) as conflict:
        await save(wiki, "a", "# Three", first.id)
    assert conflict.value.current
    assert (conflict.value.current.id, conflict.value.current.text) == (second.id, "# Two\n")
    with pytest.raises(Conflict):
        await save(wiki, "a", "# Three", 0)
    head = await wiki.head("a")
    assert head and (head.revision, head.title, head.locked, head.version) == (second.id, "Two", False, second.id)
    assert [(each.author, each.comment) for each in await wiki.history("a", before=None, limit=9)] == [
        ("bruno", "better"),
        ("anna", ""),
    ]
    await wiki.lock("a", True)
    with pytest.raises(WikiError, match="locked"):
        await save(wiki, "a", "# Three", second.id)
    third = await save(wiki, "a", "# Three", second.id, admin=True)
    await wiki.lock("a", False)
    await wiki.remove("a", author="anna", base=third.id, at=T0)
    assert await wiki.head("a") is None
    assert await wiki.search("three") == []
    with pytest.raises(Conflict) as gone:
        await save(wiki, "a", "# Four", third.id)
    assert gone.value.current is None
    assert [each.deleted for each in await wiki.history("a", before=None, limit=9)] == [True, False, False, False]
    await save(wiki, "a", "# Three")
    assert [each.slug for each in await wiki.search("three")] == ["a"]


async def test_a_lock_outlives_its_page(store: Store) -> None:
    wiki = Wiki(store.engine)
    for slug, locked in (("a", True), ("b", False)):
        first = await save(wiki, slug, "# One")
        await wiki.lock(slug, locked)
        await wiki.remove(slug, author="carla", base=first.id, at=T0)
        assert await wiki.is_locked(slug) == locked
    with pytest.raises(WikiError, match="locked"):
        await save(wiki, "a", "# One")
    await save(wiki, "b", "# One")
    second = await save(wiki, "a", "# One", admin=True)
    head = await wiki.head("a")
    assert head and head.locked
    await wiki.lock("a", False)
    third = await save(wiki, "a", "# Two", second.id)
    # As it was when it was deleted last.
    await wiki.remove("a", author="carla", base=third.id, at=T0)
    assert not await wiki.is_locked("a") and not await wiki.is_locked("never")
    await save(wiki, "a", "# Three")


async def test_of_two_who_save_at_once_one_is_told(store: Store) -> None:
    wiki = Wiki(store.engine)
    base = (await save(wiki, "a", "# 0")).id
    ended = await asyncio.gather(*(save(wiki, "a", f"# {n}", base) for n in range(1, 5)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in ended) == ["Conflict"] * 3 + ["Revision"]


async def test_the_search_finds_words_and_their_beginnings(store: Store) -> None:
    wiki = Wiki(store.engine)
    await save(wiki, "laser", "# Laser cutter\n\nHow to cut <b>acrylic</b> glass & wood.\n" + "word " * 200)
    await save(wiki, "keys", "# Keys\n\nThe laser is behind the locked door. Perché no?")
    assert [each.slug for each in await wiki.search("LASER")] == ["laser", "keys"]
    (found,) = await wiki.search("acry glass")
    assert f"{MARK}acrylic{UNMARK}" in found.snippet
    assert [each.slug for each in await wiki.search("perché")] == ["keys"]
    assert await wiki.search("acrylic door") == []
    revision = (await wiki.head("keys")).revision  # type: ignore[union-attr]
    await save(wiki, "keys", "# Keys\n\nNothing", revision)
    assert [each.slug for each in await wiki.search("laser")] == ["laser"]


QUERIES = [
    '"',
    "'",
    "a AND",
    "NEAR(",
    "title:x",
    "*",
    "^a",
    "-a",
    "a:*",
    "&|!",
    "()",
    "'; DROP TABLE page; --",
    "\\",
    "%_",
    "a_b",
    "_",
    "\0",
    "x" * 200,
    "²",
    "ß",
    "日本",
]


@pytest.mark.parametrize("query", QUERIES)
async def test_any_query_is_safe(store: Store, query: str) -> None:
    wiki = Wiki(store.engine)
    await save(wiki, "a", "# Words\n\nsome of them")
    await wiki.search(query)
    assert await wiki.search("words")


async def test_pictures_are_stored_once_and_within_bounds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bits.wiki.FILES_BYTES", 100)
    wiki = Wiki(store.engine)
    for _ in range(2):
        file = await wiki.add_file("a" * 64, "png", b"x" * 60, author="anna", at=T0)
    assert await wiki.files(offset=0, limit=9) == [file]
    assert await wiki.file("a" * 64, "png") == b"x" * 60
    assert await wiki.file("a" * 64, "gif") is None
    with pytest.raises(WikiError, match="full"):
        await wiki.add_file("b" * 64, "png", b"x" * 60, author="anna", at=T0)
    await wiki.remove_file("a" * 64)
    await wiki.add_file("b" * 64, "png", b"x" * 60, author="anna", at=T0)


# --- the server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("wiki"), cookie_secret=SECRET, space_name="Hackerspace").start()
    for name, rights in (("anna", []), ("bruno", []), ("carla", ["--admin"])):
        server.run("user", "add", name, *rights, "--password-stdin", input=PASSWORD + "\n")
    yield server
    server.stop()
    assert "Traceback" not in server.errors, server.errors


def signed_in(site: Server, name: str = "anna") -> Browser:
    browser = Browser(site)
    assert browser.sign_in(name)[0] == 200
    return browser


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return found[1]


def write(browser: Browser, slug: str, text: str, **fields: str) -> tuple[int, str, str]:
    page = browser.get(f"/wiki/{slug}/edit")[2]
    known = {name: hidden(page, name) for name in ("csrf", "base")}
    return browser.post(f"/wiki/{slug}/edit", known | {"text": text, "comment": "", "action": "save"} | fields)


def send(
    browser: Browser, data: bytes, *, csrf: str | None = None, name: str = "x.png", **headers: str
) -> tuple[int, str, str]:
    token = browser.csrf("/wiki/files") if csrf is None else csrf
    body = (
        (
            f'--bOuNdArY\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{token}\r\n--bOuNdArY\r\n'
            f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        ).encode()
        + data
        + b"\r\n--bOuNdArY--\r\n"
    )
    given = {"Content-Type": "multipart/form-data; boundary=bOuNdArY"} | headers
    return browser._open(urllib.request.Request(browser.server.url + "/wiki/files", body, given))


def test_a_page_is_written_read_and_changed(site: Server) -> None:
    anna = signed_in(site)
    status, url, page = anna.get("/wiki/new?title=The+Laser%21")
    assert (status, url) == (200, "/wiki/the-laser/edit?title=The+Laser%21")
    assert "# The Laser!\n" in page
    status, url, page = write(
        anna, "the-laser", "# The Laser!\r\n\r\n*Hot.* See [[Info]] and [[Rules]].", comment="begun"
    )
    assert (status, url) == (200, "/wiki/the-laser?done=saved")
    assert "The page is saved." in page and "<em>Hot.</em>" in page and "/wiki/the-laser/edit" in page
    status, headers, body = site.get("/wiki/the-laser")
    assert status == 200 and b"<title>The Laser! \xe2\x80\x93 Hackerspace</title>" in body
    assert b'<a class="missing" href="/wiki/rules"' in body and b'<a href="/info" rel=' in body
    assert b"/edit" not in body and b"anna" not in body
    assert site.get("/wiki/the-laser", If_None_Match=headers["etag"])[0] == 304
    # A page that has come to be is no longer missing where others link to it.
    write(anna, "rules", "# Rules")
    status, _, body = site.get("/wiki/the-laser", If_None_Match=headers["etag"])
    assert status == 200 and b"missing" not in body
    assert write(anna, "rules", "# Rules")[1] == "/wiki/rules?done=same"
    assert site.get("/wiki/The%20Laser")[2] == body
    assert ">The Laser!</a>" in site.get("/wiki")[2].decode()


def test_the_first_pages_are_there(site: Server) -> None:
    assert "<title>About Hackerspace – Hackerspace</title>" in site.get("/info")[2].decode()
    assert site.get("/wiki/info")[2] == site.get("/info")[2]
    assert "About Hackerspace" in site.get("/wiki?q=space")[2].decode()


def test_strangers_read_only(site: Server) -> None:
    stranger = Browser(site)
    for path in ("/wiki/info/edit", "/wiki/info/history", "/wiki/files", "/wiki/new?title=x"):
        assert stranger.get(path)[1].startswith("/login?next=%2F"), path
    assert stranger.get("/wiki/nothing-here")[0] == 404
    assert "Write it" in stranger.get("/wiki/nothing-here")[2]
    for path in ("/wiki/info/restore", "/wiki/info/delete", "/wiki/info/lock", "/wiki/files/remove"):
        assert stranger.post(path, {"csrf": stranger.csrf("/login")})[1] == "/login", path
        assert stranger.post(path, {"csrf": "x"})[0] == 403, path
    assert stranger.post("/wiki/preview", {"csrf": stranger.csrf("/login"), "text": "x"})[0] == 403
    assert send(stranger, picture(), csrf=stranger.csrf("/login"))[1] == "/login"
    status, _, page = stranger.post(
        "/wiki/info/edit", {"csrf": "x", "base": "1", "text": "my <long> text", "action": "save"}
    )
    assert status == 403 and "my &lt;long&gt; text</textarea>" in page
    # Strangers fill no memory.
    for path in ("/wiki/info/edit", "/wiki/preview"):
        status, _, page = stranger.post(path, {"csrf": "x", "text": "a" * 70_000}, Accept="text/html")
        assert status == 403 and "go back, copy it, and sign in" in page
    assert stranger.post("/wiki/info/edit", {"text": "x"}, Origin="https://evil.example")[0] == 403
    member = signed_in(site)
    assert member.post("/wiki/info/delete", {"csrf": member.csrf("/admin")})[0] == 403
    assert member.post("/wiki/info/lock", {"csrf": member.csrf("/admin"), "locked": "1"})[0] == 403


def test_a_preview_is_shown_and_nothing_stored(site: Server) -> None:
    anna = signed_in(site)
    status, _, page = write(anna, "draft", "# A *draft*", action="preview", comment="so far")
    assert status == 200 and "<h1>A <em>draft</em></h1>" in page
    assert "# A *draft*\n</textarea>" in page and 'value="so far"' in page
    assert site.get("/wiki/draft")[0] == 404
    status, _, html = anna.post("/wiki/preview", {"csrf": anna.csrf("/admin"), "text": "*x* <script>"})
    assert (status, html) == (200, "<p><em>x</em> &lt;script&gt;</p>")
    assert anna.post("/wiki/preview", {"csrf": anna.csrf("/admin"), "text": "\7"})[::2] == (
        400,
        "The text holds characters that cannot be shown.",
    )


def test_of_a_conflict_nothing_is_lost(site: Server) -> None:
    anna, bruno = signed_in(site), signed_in(site, "bruno")
    write(anna, "shared", "# Shared\n\none\n\nthe end")
    base = hidden(anna.get("/wiki/shared/edit")[2], "base")
    write(bruno, "shared", "# Shared\n\nBruno <b>\n\nthe end")
    status, _, page = write(anna, "shared", "# Shared\n\nAnna & co\n\nthe end", base=base, comment="mine")
    assert status == 409 and "Somebody else has changed this page" in page and "bruno" in page
    assert "<del>Bruno &lt;b&gt;</del>" in page and "<ins>Anna &amp; co</ins>" in page
    assert "# Shared\n\nAnna &amp; co\n\nthe end\n</textarea>" in page and 'value="mine"' in page
    assert "Bruno" in site.get("/wiki/shared")[2].decode()
    fields = {name: hidden(page, name) for name in ("csrf", "base")}
    saved = anna.post("/wiki/shared/edit", fields | {"text": "# Shared\n\nboth", "action": "save"})
    assert saved[1] == "/wiki/shared?done=saved"


def test_a_form_from_before_signing_in_comes_back_with_its_text(site: Server) -> None:
    anna = signed_in(site)
    old = hidden(anna.get("/wiki/info/edit")[2], "csrf")
    anna.post("/logout", {"csrf": anna.csrf("/admin")})
    fields = {"csrf": old, "base": "0", "text": "# Kept", "action": "save"}
    status, _, page = anna.post("/wiki/kept/edit", fields)
    assert status == 403 and "sign in in another window" in page and "# Kept</textarea>" in page
    anna.sign_in()
    status, _, page = anna.post("/wiki/kept/edit", fields | {"csrf": hidden(page, "csrf")})
    assert status == 403 and "save once more" in page and "# Kept</textarea>" in page
    assert anna.post("/wiki/kept/edit", fields | {"csrf": hidden(page, "csrf")})[1] == "/wiki/kept?done=saved"


def test_the_history_is_shown_compared_and_restored(site: Server) -> None:
    anna, carla = signed_in(site), signed_in(site, "carla")
    for text in ("# Rooms\n\nfirst", "# Rooms\n\nsecond", "# Rooms\n\n<i>third</i>"):
        write(anna, "rooms", text, comment=f"on {text[-6:]}")
    page = anna.get("/wiki/rooms/history")[2]
    third, second, first = re.findall(r'name="from" value="(\d+)"', page)
    assert "on second" in page
    assert "first" in anna.get(f"/wiki/rooms/revision?id={first}")[2]
    for pair in (f"from={first}&to={third}", f"from={third}&to={first}"):
        page = anna.get(f"/wiki/rooms/diff?{pair}")[2]
        assert "<del>first</del>" in page and "<ins>&lt;i&gt;third&lt;/i&gt;</ins>" in page
        assert 'class="unseen">removed</span>' in page
    for path in ("revision?id=999999", "revision", f"diff?from={first}&to=999999", f"diff?from={first}"):
        assert anna.get(f"/wiki/rooms/{path}")[0] == 404, path
    assert anna.get(f"/wiki/info/revision?id={first}")[0] == 404  # of another page
    csrf = anna.csrf("/admin")
    stale = {"csrf": csrf, "revision": first, "base": second}
    assert anna.post("/wiki/rooms/restore", stale)[0] == 409
    assert anna.post("/wiki/rooms/restore", stale | {"base": third})[1] == "/wiki/rooms?done=restored"
    assert b"first" in site.get("/wiki/rooms")[2]
    assert "Restored: as of" in anna.get("/wiki/rooms/history")[2]
    # Only administrators lock and delete; what was deleted can be restored.
    admin = carla.csrf("/wiki/rooms/history")
    assert carla.post("/wiki/rooms/lock", {"csrf": admin, "locked": "1"})[1] == "/wiki/rooms/history?done=locked"
    status, _, page = anna.get("/wiki/rooms/edit")
    assert status == 403 and "locked" in page
    assert write(anna, "rooms", "# No")[0] == 403
    assert write(carla, "rooms", "# Yes")[0] == 200
    # What is deleted while it is locked is restored or written anew by admins only.
    base = hidden(carla.get("/wiki/rooms/history")[2], "base")
    carla.post("/wiki/rooms/delete", {"csrf": admin, "base": base})
    assert anna.post("/wiki/rooms/restore", {"csrf": csrf, "revision": first, "base": "0"})[0] == 409
    status, _, page = anna.get("/wiki/rooms/edit")
    assert status == 403 and "locked" in page
    assert write(anna, "rooms", "# No")[0] == 403
    assert carla.post("/wiki/rooms/restore", {"csrf": admin, "revision": first, "base": "0"})[0] == 200
    assert write(anna, "rooms", "# No")[0] == 403
    carla.post("/wiki/rooms/lock", {"csrf": admin, "locked": "0"})
    base = hidden(carla.get("/wiki/rooms/history")[2], "base")
    assert carla.post("/wiki/rooms/delete", {"csrf": admin, "base": first})[0] == 409
    assert carla.post("/wiki/rooms/delete", {"csrf": admin, "base": base})[1] == "/wiki/rooms/history?done=deleted"
    assert site.get("/wiki/rooms")[0] == 404
    assert anna.post("/wiki/rooms/restore", {"csrf": csrf, "revision": first, "base": "0"})[0] == 200
    assert b"first" in site.get("/wiki/rooms")[2]


def test_the_wiki_outlives_a_thousand_million_revisions(site: Server) -> None:
    anna = signed_in(site)
    write(anna, "old", "# Old")
    with closing(sqlite3.connect(site.folder / "bits.db")) as database, database:
        database.execute("UPDATE revision SET id = 1234567890 WHERE slug = 'old'")
        database.execute("UPDATE page SET revision = 1234567890 WHERE slug = 'old'")
    assert write(anna, "old", "# New")[1] == "/wiki/old?done=saved"
    base = hidden(anna.get("/wiki/old/edit")[2], "base")
    fields = {"csrf": anna.csrf("/admin"), "revision": "1234567890", "base": base}
    assert anna.post("/wiki/old/restore", fields)[1] == "/wiki/old?done=restored"
    assert b"<h1>Old</h1>" in site.get("/wiki/old")[2]


def test_what_is_wrong_is_said_and_counted(site: Server) -> None:
    anna = signed_in(site)
    for fields, status, said, reason in (
        ({"text": " \n "}, 400, "There is no text.", "empty"),
        ({"text": "a\x07"}, 400, "cannot be shown", "bad-characters"),
        ({"text": "è" * 40_000}, 400, "at most 64 KiB", "too-long"),
        ({"text": "è" * PAGE_BYTES}, 400, "at most 64 KiB", "too-long"),  # as much as the textarea takes
        ({"text": "a" * 1_100_000}, 413, "far too long for a page", "too-long"),
        ({"text": "kept", "comment": "c" * 201}, 400, "at most 200 characters", "bad-comment"),
        ({"text": "kept", "csrf": "x"}, 403, "save once more", "old-form"),
    ):
        counter = f'wiki_refused_total{{reason="{reason}"}}'
        before = site.metric(counter)
        answer = write(anna, "wrong", fields["text"], **{k: v for k, v in fields.items() if k != "text"})
        assert answer[0] == status and said in answer[2], (fields["text"][:9], answer)
        assert site.metric(counter) == before + 1
        if field := {"old-form": "", "bad-comment": "comment"}.get(reason, "text") if status == 400 else "":
            assert f'aria-invalid="true" aria-describedby="{field}-wrong"' in answer[2]
            assert f'<p class="bad" id="{field}-wrong">' in answer[2]
    too_long = {"csrf": anna.csrf("/admin"), "text": "a" * 1_100_000}
    italian = {"Accept": "text/html", "Accept_Language": "it"}
    for path in ("/wiki/wrong/edit", "/wiki/preview"):
        status, _, page = anna.post(path, too_long, **italian)
        assert status == 413 and '<p lang="it">Il testo è di gran lunga troppo lungo' in page
    for path, said in (
        ("/wiki/new?title=%3F%3F", "A title has"),
        ("/wiki/new?title=" + "a" * 121, "A title has"),
        ("/wiki?q=" + "a" * 201, "at most 200"),
        ("/wiki?offset=-1", "expected a whole number"),
    ):
        status, _, page = anna.get(path)
        assert status == 400 and said in page, path
    assert "About Hackerspace" in anna.get("/wiki?q=" + "a" * 201)[2]  # there are pages nevertheless
    for path in ("/wiki/..%2f", "/wiki/a--b", "/wiki/files/edit", "/wiki/new/edit", "/wiki/" + "a" * 65, "/wiki/%00"):
        assert anna.get(path)[0] == 404, path


def test_a_search_shows_where(site: Server) -> None:
    write(signed_in(site), "soup", '# Soup\n\nTake <img src=x onerror=alert(1)> "carrots" & salt.')
    page = site.get("/wiki?q=carrots")[2].decode()
    assert "One page" in page and "&lt;img src=x onerror=alert(1)&gt;" in page and "<mark>carrots</mark>" in page
    assert "No page has all of these words." in site.get("/wiki?q=%22x%27%20OR*")[2].decode()


def test_a_picture_is_sent_shown_and_deleted(site: Server) -> None:
    anna, carla = signed_in(site), signed_in(site, "carla")
    data = picture("PNG", (64, 48), compress_level=0)  # larger than the last part of a request
    assert send(anna, data, name="ù.png")[1] == "/wiki/files?done=uploaded"
    found = re.search(r"/wiki/files/([0-9a-f]{64})\.png", anna.get("/wiki/files")[2])
    assert found
    status, headers, body = site.get(found[0])
    assert (status, colours(body), headers["content-type"]) == (200, colours(data), "image/png")
    assert headers["x-content-type-options"] == "nosniff" and "sandbox" in headers["content-security-policy"]
    assert "immutable" in headers["cache-control"] and headers["content-disposition"].startswith("inline; filename=")
    assert site.get(found[0], If_None_Match=headers["etag"])[0] == 304
    assert site.get(found[0].replace(".png", ".gif"))[0] == 404
    answer = send(anna, picture("JPEG"), Accept="application/json")
    assert answer[0] == 201
    assert json.loads(answer[2])["url"].endswith(".jpg")
    assert carla.post("/wiki/files/remove", {"csrf": carla.csrf("/wiki/files"), "digest": found[1]})[0] == 200
    assert site.get(found[0])[0] == 404


def test_what_is_no_picture_is_refused_before_it_is_stored(site: Server) -> None:
    anna = signed_in(site)
    for data, reason, said in (
        (b"<svg onload=alert(1)>", "no-picture", "that can be read"),
        (b"\0" * (FILE_BYTES + 1), "too-large", "may have 2 MiB"),
        (b"\0" * (FILE_BYTES + 100_000), "too-large", "may have 2 MiB"),
        (b"", "no-file", "Choose a picture"),
    ):
        before = site.metric(f'uploads_refused_total{{reason="{reason}"}}')
        status, _, page = send(anna, data)
        assert status == 400 and 'id="file-wrong"' in page, reason
        assert said in page and said in json.loads(send(anna, data, Accept="application/json")[2])["refused"]
        assert site.metric(f'uploads_refused_total{{reason="{reason}"}}') == before + 2
    assert send(anna, picture(), csrf="x")[0] == 400
    for kind in ("text/plain", "multipart/form-data", "multipart/form-data; boundary=bOuNdArY; charset=nonsense"):
        assert send(anna, picture(), csrf="x", **{"Content-Type": kind})[0] == 400, kind
    before = site.metric('uploads_refused_total{reason="bad-form"}')
    part = b"\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n--a"
    long = b"--a\r\n" + b"A: b\r\n" * 20_000 + b"\r\n\r\n--a--\r\n"
    for body in (b"--a" + part * 20_000 + b"--\r\n", long):
        kind_of_a = {"Content-Type": "multipart/form-data; boundary=a"}
        assert anna._open(urllib.request.Request(site.url + "/wiki/files", body, kind_of_a))[0] == 400
    assert site.metric('uploads_refused_total{reason="bad-form"}') == before + 2
    assert send(anna, picture(), Origin="https://evil.example")[0] == 403
    # All other requests keep the small limit.
    assert anna.post("/message", {"text": "a" * 100_000, "csrf": anna.csrf("/admin")})[0] == 413


@pytest.mark.postgres
def test_what_one_node_stores_another_shows(make_server: Callable[..., Server], postgres_uri: str) -> None:
    one, two = (make_server(db_uri=postgres_uri, cookie_secret=SECRET) for _ in range(2))
    one.run("user", "add", "anna", "--password-stdin", input=PASSWORD + "\n")
    anna = signed_in(one)
    write(anna, "a", "# A\n\nfirst, see [[B]]")
    assert b"first" in two.get("/wiki/a")[2]
    write(anna, "a", "# A\n\nsecond, see [[B]]")
    write(signed_in(two), "b", "# B")
    for node in (one, two):
        body = node.get("/wiki/a")[2]
        assert b"second" in body and b"missing" not in body
    send(anna, picture())
    address = re.search(r"/wiki/files/[0-9a-f]{64}\.png", anna.get("/wiki/files")[2])
    assert address and colours(two.get(address[0])[2]) == colours(picture())


def contents(folder: Path) -> dict[Path, bytes]:
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.*") if file.is_file()}


def test_the_wiki_goes_into_a_folder_and_comes_back(
    site: Server, make_server: Callable[..., Server], tmp_path: Path
) -> None:
    anna = signed_in(site)
    write(anna, "moved", "# Moved\n\n    kept  as it is — ☕")
    send(anna, picture("GIF"))
    folder = tmp_path / "wiki"
    said = site.run("wiki", "export", str(folder))
    assert re.fullmatch(r"\d+ pages, \d+ pictures\n", said.stdout), said.stderr
    other = make_server(db_uri=f"sqlite:///{tmp_path}/other.db")
    said = other.run("wiki", "import", str(folder))
    assert said.returncode == 0, said.stderr
    assert "Moved" in other.get("/wiki/moved")[2].decode()  # while it runs
    again = tmp_path / "again"
    other.run("wiki", "export", str(again))
    assert contents(again) == contents(folder)
    assert ", 0 of them new" in other.run("wiki", "import", str(folder)).stdout
    (folder / "Bad Name.md").write_text("# x")
    refused = other.run("wiki", "import", str(folder))
    assert refused.returncode == 1 and "Bad Name.md: a page's file is called by" in refused.stderr
    assert "there is no such folder" in other.run("wiki", "import", str(tmp_path / "none")).stderr


def test_init_loads_the_first_pages_once(make_server: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "welcome.md").write_text("# Welcome to {{space}}")
    server = Server(tmp_path, pages_dir=str(tmp_path), space_name="Lab")
    assert "Created the tables" in server.run("init").stdout
    server.run("init")
    with sqlite3.connect(tmp_path / "bits.db") as database:
        assert sorted(database.execute("SELECT slug, title FROM page")) == [
            ("info", "About Lab"),
            ("welcome", "Welcome to Lab"),
        ]
        assert database.execute("SELECT count(*) FROM revision").fetchone() == (2,)
    database.close()
