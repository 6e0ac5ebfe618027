"""Tell a member about the device in their hand, on a page of the space's own network; no I/O.

The router alone can tell which MAC address a device has there. The page explains what that means and leads to the
server with the device's digest, signed, so that the server knows it was this router that saw it. See docs/mac.md.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Callable

from bits_fonera.detector import digest, is_randomised

MAX_REQUEST = 4096  # bytes; browsers send less than 1000 to a host that has set no cookie

_STYLE = (
    "body{font:1.1em/1.5 system-ui,sans-serif;max-width:38em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "a.go{display:inline-block;padding:.6em 1em;border-radius:.4em;background:#14532d;color:#fff;text-decoration:none}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}a{color:#9cf}}"
)
_STYLE_HASH = binascii.b2a_base64(hashlib.sha256(_STYLE.encode()).digest(), newline=False).decode()
_HEADERS = (
    "Connection: close",
    "Cache-Control: no-store",
    f"Content-Security-Policy: default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy: no-referrer",
    "X-Content-Type-Options: nosniff",
)

_EN = {
    "lang": "en",
    "title": "This device",
    "address": "On this network your device has the MAC address",
    "real": "This is the address that its maker gave it. It stays the same, so BITS will know the device again.",
    "random": "This address is randomised: your device has made it up for this network. It may make up another one "
    "some day, and then BITS will not know it any more. If you can, switch that off for this network, connect again "
    "and reload this page; or register it as it is, and come back here when it is no longer recognised.",
    "ios": "iPhone, iPad: Settings, Wi-Fi, the ⓘ beside this network, Private Wi-Fi Address: Off, or Fixed.",
    "android": "Android: Settings, Network and internet, Wi-Fi, this network, Privacy: Use device MAC.",
    "windows": "Windows: Settings, Network and internet, Wi-Fi, this network's properties, Random hardware addresses: "
    "Off.",
    "linux": "Linux with NetworkManager: the network's settings, Identity, Cloned address: Permanent.",
    "sent": "What goes to the server is not this address but a digest of it, made with a key of this space.",
    "go": "Register this device",
    "soon": "The link is good for ten minutes. You sign in on the server, and can delete the device there at any time.",
    "unknown": "This device is not among the neighbours of this router, so its address is not known here. Connect it "
    "to the space's own network, switch off any VPN and mobile data, and reload this page.",
}
_IT = {
    "lang": "it",
    "title": "Questo dispositivo",
    "address": "In questa rete il tuo dispositivo ha l'indirizzo MAC",
    "real": "È l'indirizzo che gli ha dato il costruttore. Resta sempre lo stesso, quindi BITS riconoscerà "
    "il dispositivo.",
    "random": "Questo indirizzo è casuale: il tuo dispositivo lo ha inventato per questa rete. Un giorno potrebbe "
    "inventarne un altro, e allora BITS non lo riconoscerà più. Se puoi, disattiva gli indirizzi casuali per questa "
    "rete, ricollegati e ricarica questa pagina; oppure registralo così com'è, e torna qui quando non viene più "
    "riconosciuto.",
    "ios": "iPhone, iPad: Impostazioni, Wi-Fi, la ⓘ accanto a questa rete, Indirizzo Wi-Fi privato: No, oppure Fisso.",
    "android": "Android: Impostazioni, Rete e Internet, Wi-Fi, questa rete, Privacy: Usa MAC dispositivo.",
    "windows": "Windows: Impostazioni, Rete e Internet, Wi-Fi, proprietà di questa rete, Indirizzi hardware casuali: "
    "Disattivato.",
    "linux": "Linux con NetworkManager: le impostazioni della rete, Identità, Indirizzo clonato: Permanente.",
    "sent": "Al server non va questo indirizzo ma una sua impronta, calcolata con una chiave di questo spazio.",
    "go": "Registra questo dispositivo",
    "soon": "Il collegamento vale dieci minuti. Accedi sul server; lì puoi cancellare il dispositivo in ogni momento.",
    "unknown": "Questo dispositivo non è tra i vicini di questo router, quindi qui il suo indirizzo non è noto. "
    "Collegalo alla rete dello spazio, disattiva VPN e dati mobili, e ricarica questa pagina.",
}


class _RequestError(Exception):
    """A request that gets an error instead of the page: status line, what was expected."""


def is_complete(request: bytes) -> bool:
    """Tell whether answer() can be given: the request has ended, or is too long to be waited for."""
    return len(request) > MAX_REQUEST or b"\n\n" in request.replace(b"\r\n", b"\n")


def answer(
    request: bytes, peer_ip: str, lookup: Callable[[str], str | None], key: str, server_url: str, now_s: int
) -> bytes:
    """Return the whole HTTP answer to one request; the connection is closed after it.

    Args:
        request: what came, up to the empty line (see is_complete()), or MAX_REQUEST bytes and one more.
        peer_ip: where it came from.
        lookup: tells the MAC address behind an IP address of this network.
        key: the space's key for digests.
        server_url: where the server's pages are, with http:// or https://.
        now_s: seconds since 1970.
    """
    head_only = request.startswith(b"HEAD ")
    try:
        words = _words(_headers(request).get("accept-language", ""))
    except _RequestError as error:
        status, sentence = error.args
        allow = ("Allow: GET, HEAD",) if status.startswith("405") else ()
        return _response(status, "text/plain; charset=utf-8", f"{sentence}\n", head_only, *allow)
    page = _page(words, lookup(peer_ip), key, server_url, now_s)
    extra = (f"Content-Language: {words['lang']}", "Vary: Accept-Language")
    return _response("200 OK", "text/html; charset=utf-8", page, head_only, *extra)


def link(mac: str, key: str, server_url: str, now_s: int) -> str:
    """Return the server's page for registering this device: digest, time, whether randomised, and the proof of them.

    The proof is HMAC-SHA256 of `this-device <digest> <at> <randomised>` under the space's key, in lower-case
    hexadecimal.
    """
    name, randomised = digest(mac, key), int(is_randomised(mac))
    sign = hmac.digest(key.encode(), f"this-device {name} {now_s} {randomised}".encode(), "sha256").hex()
    return f"{server_url.rstrip('/')}/devices?digest={name}&at={now_s}&randomised={randomised}&sign={sign}"


def _headers(request: bytes) -> dict[str, str]:
    """Return the headers, names in lower case, of a request that may have the page.

    Raises: _RequestError: it may not; the first of the reasons here that applies.
    """
    line, found, rest = request.partition(b"\n")
    if len(request) > MAX_REQUEST:
        if len(line) > MAX_REQUEST or not found:
            raise _RequestError("414 URI Too Long", f"The address is longer than {MAX_REQUEST} bytes.")
        raise _RequestError("431 Request Header Fields Too Large", f"The request is longer than {MAX_REQUEST} bytes.")
    words = line.rstrip(b"\r").split(b" ")
    if not found or len(words) != 3 or not words[2].startswith(b"HTTP/"):
        raise _RequestError("400 Bad Request", "Expected a line such as GET / HTTP/1.1.")
    if not is_complete(request):
        raise _RequestError("400 Bad Request", "Expected an empty line at the end of the headers.")
    method, target, version = words
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        raise _RequestError("505 HTTP Version Not Supported", "Expected HTTP/1.0 or HTTP/1.1.")
    if method not in (b"GET", b"HEAD"):
        raise _RequestError("405 Method Not Allowed", "Expected GET or HEAD.")
    headers = {}
    for field in rest.replace(b"\r\n", b"\n").partition(b"\n\n")[0].split(b"\n") if rest.strip() else ():
        name, colon, value = field.partition(b":")
        if not colon or not name or name != name.strip():
            raise _RequestError("400 Bad Request", "Expected headers such as Accept: text/html.")
        headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    if version == b"HTTP/1.1" and "host" not in headers:
        raise _RequestError("400 Bad Request", "Expected a Host header.")
    if not _is_local(headers.get("host", "")):
        raise _RequestError(
            "421 Misdirected Request", "Expected this router's IP address, or a local name, as the host."
        )
    if target.partition(b"?")[0] != b"/":
        raise _RequestError("404 Not Found", "There is only one page here: /")
    return headers


def _is_local(host: str) -> bool:
    """Tell whether a host is an address, or a name that only this network can give.

    A page elsewhere can make its own public name point at this router (DNS rebinding) and would read what is meant for
    the member alone. It cannot make the browser send another host.
    """
    name = host.lower().rpartition(":")[0] if host.rpartition(":")[2].isdigit() and "]" not in host else host.lower()
    if not name or name.startswith("["):
        return True
    labels = name.rstrip(".").split(".")
    return len(labels) == 1 or labels[-1].isdigit() or labels[-1] in ("lan", "local", "internal", "arpa", "home")


def _words(accept_language: str) -> dict[str, str]:
    """Return the texts in the language that the reader prefers, English if in doubt (RFC 9110, section 12.5.4)."""
    weights = {"en": 0.0, "it": 0.0}
    for choice in accept_language.split(","):
        tag, _, parameter = choice.partition(";")
        language = tag.strip().lower().partition("-")[0]
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            weight = 0.0
        if language in weights:
            weights[language] = max(weights[language], weight)
    return _IT if weights["it"] > weights["en"] else _EN


def _page(words: dict[str, str], mac: str | None, key: str, server_url: str, now_s: int) -> str:
    if mac is None:
        body = f"<p>{_escaped(words['unknown'])}</p>"
    else:
        explained = f"<p>{_escaped(words['real'])}</p>"
        if is_randomised(mac):
            ways = "".join(f"<li>{_escaped(words[name])}</li>" for name in ("ios", "android", "windows", "linux"))
            explained = f"<p>{_escaped(words['random'])}</p><ul>{ways}</ul>"
        body = (
            f"<p>{_escaped(words['address'])} <code>{_escaped(mac)}</code>.</p>{explained}"
            f"<p>{_escaped(words['sent'])}</p>"
            f'<p><a class="go" href="{_escaped(link(mac, key, server_url, now_s))}">{_escaped(words["go"])}</a></p>'
            f"<p>{_escaped(words['soon'])}</p>"
        )
    title = _escaped(words["title"])
    return (
        f'<!doctype html><html lang="{words["lang"]}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )


def _escaped(text: str) -> str:
    # The module html would do, with its table of two thousand entities.
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(character, entity)
    return text


def _response(status: str, content_type: str, text: str, head_only: bool, *extra: str) -> bytes:
    body = text.encode()
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *_HEADERS, *extra)
    return "\r\n".join((*lines, "", "")).encode() + (b"" if head_only else body)
