"""Who is asking: the peer behind trusted proxies, the member behind a signed cookie."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Hashable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from itsdangerous import BadSignature, URLSafeTimedSerializer
from sanic import Forbidden, HTTPResponse, Request

from bits.config import Config
from bits.ingest import Networks
from bits.web import context, users
from bits.web.route import field
from bits.web.users import User
from bits.web.words import N_

log = logging.getLogger("bits.auth")

SESSION = "bits_session"
ADDRESSES = 20  # that may each try as many passwords for one name as an address may: beyond is no member's forgetting
FORM_AGE = 24 * 3600  # seconds a form may stand open before it is sent


class Signer:
    """Sign what is given to browsers, so that it cannot be forged; nothing about sessions is kept here."""

    def __init__(self, config: Config) -> None:
        secret = config.cookie_secret
        if secret is None:
            log.warning("cookie_secret is not set: members are signed out whenever the server restarts")
            secret = secrets.token_hex(32)
        self.age = int(config.cookie_age)
        self._session = URLSafeTimedSerializer(secret, salt="session")
        self._form = URLSafeTimedSerializer(secret, salt="form")

    def session(self, user: User) -> str:
        return self._session.dumps([user.id, _fingerprint(user)])

    def read_session(self, cookie: str) -> tuple[int, str] | None:
        try:
            number, fingerprint = self._session.loads(cookie, max_age=self.age)
        except (BadSignature, ValueError, TypeError):
            return None
        return number, fingerprint

    def form(self, bound_to: str) -> str:
        """Return a token for a form, good only together with what it is bound to."""
        return self._form.dumps(hashlib.sha256(bound_to.encode()).hexdigest()[:16])

    def is_form(self, token: str, bound_to: str) -> bool:
        try:
            return bool(self._form.loads(token, max_age=FORM_AGE) == hashlib.sha256(bound_to.encode()).hexdigest()[:16])
        except BadSignature:
            return False


def _fingerprint(user: User) -> str:
    """Tie a session to the password: whoever changes it is signed out everywhere else."""
    return hashlib.sha256(user.password.encode()).hexdigest()[:16]


async def member(request: Request) -> User | None:
    """Return the signed-in member, if there is one."""
    ctx = context.of(request)
    session = ctx.signer.read_session(request.cookies.get(SESSION) or "")
    if session is None:
        return None
    user = await users.by_id(ctx.engine, session[0])
    if user is None or not secrets.compare_digest(_fingerprint(user), session[1]):
        return None
    request.ctx.is_admin = user.admin
    return user


def form_token(request: Request) -> str:
    return context.of(request).signer.form(request.cookies.get(SESSION) or "")


def _is_foreign(origin: str | None, host: str | None) -> bool:
    try:
        return origin is not None and urlsplit(origin).netloc != host
    except ValueError:  # an address that is none
        return True


def check_origin(request: Request) -> None:
    """Refuse what another site has sent. Raises: Forbidden."""
    if _is_foreign(request.headers.get("origin"), request.headers.get("host")) or request.headers.get(
        "sec-fetch-site", "same-origin"
    ) not in ("same-origin", "none"):
        context.of(request).counters["forms_refused_total"] += 1
        raise Forbidden(N_("This form was sent from another site."))


def is_form(request: Request, token: str) -> bool:
    """Tell whether a form's token is one that this browser was given."""
    return context.of(request).signer.is_form(token, request.cookies.get(SESSION) or "")


def check_form(request: Request) -> None:
    """Refuse a form that was not sent from our own page.

    Raises:
        Forbidden: another site sent it, or it is too old.
    """
    check_origin(request)
    if not is_form(request, field(request, "csrf")):
        context.of(request).counters["forms_refused_total"] += 1
        raise Forbidden(N_("This form is too old, or you have signed in or out since: go back and load the page anew."))


async def check_password(request: Request, name: str, password: str) -> User | int | None:
    """Return the user whose name and password these are; or in how many seconds another may be tried.

    Guesses for a name count against it only as far as those of one address get, and it takes many addresses to use up
    what a name has: nobody shall lock out a member by a few of them.
    """
    ctx = context.of(request)
    wait = ctx.attempts.take(near(request)) or ctx.guesses.take(name[: users.NAME_LENGTH])
    if wait:
        ctx.counters["logins_throttled_total"] += 1
        log.warning("too many passwords tried from %s", client_address(request))
        return wait
    user = await users.authenticate(ctx.engine, name, password)
    if user is None:
        ctx.counters["logins_failed_total"] += 1
        log.warning("wrong password from %s", client_address(request))
    return user


def sign_in(request: Request, response: HTTPResponse, user: User) -> None:
    signer = context.of(request).signer
    response.add_cookie(
        SESSION,
        signer.session(user),
        max_age=signer.age,
        httponly=True,
        samesite="Lax",
        secure=is_https(request),
        path="/",
    )


def sign_out(request: Request, response: HTTPResponse) -> None:
    response.cookies.delete_cookie(SESSION, path="/", secure=is_https(request))


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address.strip().strip("[]"))
    except ValueError:
        return None


def near(request: Request) -> Hashable:
    """Return what limits of a client go by: whoever has one IPv6 address has a whole network of them."""
    address = _parse(client_address(request))
    return ip_network((address, 64), strict=False) if isinstance(address, IPv6Address) else address


def client_address(request: Request) -> str:
    """Return the client's address: the nearest hop that is not one of our own proxies."""
    trusted: Networks = context.of(request).config.trusted_proxies
    hops = request.headers.get("x-forwarded-for", "").split(",")
    if _parse(request.ip):  # else a proxy on our unix socket: who may open that is trusted
        hops.append(request.ip)
    for hop in reversed(hops):
        address = _parse(hop)
        if address is None:
            break
        if not any(address in network for network in trusted):
            return str(address)
    return str(request.ip)


def is_https(request: Request) -> bool:
    """Tell whether the browser's side of the connection is encrypted, as far as we or a trusted proxy know."""
    peer = _parse(request.ip)
    trusted = peer is None or any(peer in network for network in context.of(request).config.trusted_proxies)
    return request.scheme == "https" or (trusted and request.headers.get("x-forwarded-proto") == "https")
