"""Put the parts together and run them: the only file that knows every other one."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import socket as sockets
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from socket import socket
from types import SimpleNamespace

from sanic import HTTPResponse, Request, Sanic

from bits import doctor, limits, listen
from bits.bus import Bus
from bits.caretaker import Caretaker, rules_of
from bits.config import Config
from bits.counters import Counters
from bits.devices import Devices
from bits.follow import Follower
from bits.forecaster import Forecaster
from bits.ingest import Ingest
from bits.liveness import Liveness
from bits.migrate import upgrade
from bits.presence import Presence
from bits.rollup import Rollup
from bits.roster import Roster
from bits.store import Store, make_engine
from bits.web import (
    account,
    admin,
    announcements,
    api,
    badge,
    behind,
    download,
    feeds,
    folder,
    history,
    install,
    manage,
    outlook,
    pages,
    people,
    reload,
    spaceapi,
    temperatures,
    tokens,
    v1,
    wiki,
)
from bits.web.auth import ADDRESSES, Signer
from bits.web.context import Context
from bits.web.errors import explain
from bits.web.feeds import Feeds
from bits.web.front import Front
from bits.web.history import History
from bits.web.limiter import Limiter
from bits.web.live import Live
from bits.web.outlook import Outlooks
from bits.web.pages import HomePage
from bits.web.render import Assets, Renderer
from bits.web.temperatures import Temperatures
from bits.web.v1.routes import Answers
from bits.wiki import Wiki
from bits.workers import supervise

log = logging.getLogger("bits")

# Seconds that answers under way have to end when the server stops.
GRACE = 2.0

# Clients that connect at once wait here until they are accepted; the kernel caps it at net.core.somaxconn.
BACKLOG = 65535

PUBLIC = pages, temperatures, history, download, wiki, outlook, badge, feeds, install
MACHINES = api, behind, v1, spaceapi
MEMBERS = admin, people, account, announcements, manage, tokens
PARTS = *PUBLIC, *MACHINES, *MEMBERS

# Scripts and styles come from us alone; pictures may come from anywhere, since members put them into pages.
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: https:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)


def utc_now() -> datetime:
    return datetime.now(UTC)


def set_up_logging(config: Config) -> None:
    """Log to stderr; Sanic's own chatter only in developer mode."""
    sanic = {"level": "INFO" if config.developer_mode else "WARNING"}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": sys.stderr, "formatter": "line"}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "bits": {"level": "DEBUG" if config.developer_mode else "INFO"},
                "bits.access": {"level": "INFO" if config.log_requests else "WARNING"},
                "sanic.root": sanic,
                "sanic.server": sanic,
                "sanic.error": {"level": "WARNING"},
                # Not by the engine's own switch, which would write to stdout too, where scripts wait for "ready".
                "sqlalchemy.engine": {"level": "INFO" if config.log_queries else "WARNING"},
            },
        }
    )


def create_app(config: Config, web: socket, control: socket, ready: Callable[[], None] = lambda: None) -> Sanic:  # type: ignore[type-arg]
    """Make the server's application; nothing runs and nothing is opened until it is started.

    Args:
        web: the listening socket for browsers.
        control: the listening socket for bridges.
        ready: called once connections are accepted.
    """
    app = Sanic("bits", ctx=SimpleNamespace(), configure_logging=False)
    app.config.ACCESS_LOG = False
    app.config.REQUEST_MAX_SIZE = 64 * 1024  # the largest form is a message
    app.config.REQUEST_TIMEOUT = 20
    app.config.KEEP_ALIVE_TIMEOUT = 75
    app.config.GRACEFUL_SHUTDOWN_TIMEOUT = GRACE
    for part in PARTS:
        app.blueprint(part.bp)

    @app.before_server_start
    async def start(app: Sanic) -> None:  # type: ignore[type-arg]
        ctx = make_context(config)
        app.ctx.bits = ctx
        await ctx.presence.start()
        if ctx.follower:
            ctx.follower.start()
        await ctx.roster.start()
        ctx.liveness.start()
        ctx.live.start(ctx.presence.state, ctx.liveness.now)
        await ctx.devices.start()
        await ctx.caretaker.start()
        await ctx.forecaster.start()
        ctx.rollup.start()
        ctx.temperatures.start()
        ctx.front.start(app, web)
        await ctx.ingest.start(control)

    @app.after_server_start
    async def started(app: Sanic) -> None:  # type: ignore[type-arg]
        if config.developer_mode:
            app.add_task(reload.on_change(), name="reload")
        # Once the loop runs for good: a signal to stop that comes before would be lost on the way.
        asyncio.get_running_loop().call_later(0.02, ready)

    # Both may be called twice, and stop what start began, in reverse.
    @app.before_server_stop
    async def stop(app: Sanic) -> None:  # type: ignore[type-arg]
        ctx: Context = app.ctx.bits
        if config.developer_mode:
            await app.cancel_task("reload", raise_exception=False)
        await ctx.front.stop(GRACE)
        await ctx.ingest.stop()
        await ctx.temperatures.stop()
        await ctx.rollup.stop()
        await ctx.forecaster.stop()
        ctx.caretaker.stop()
        await ctx.devices.stop()
        ctx.liveness.stop()
        await ctx.roster.stop()
        if ctx.follower:
            await ctx.follower.stop()
        await ctx.presence.stop()
        ctx.live.stop()

    @app.after_server_stop
    async def stopped(app: Sanic) -> None:  # type: ignore[type-arg]
        await app.ctx.bits.store.close()

    @app.signal("http.lifecycle.read_head")
    async def read_head(head: bytes, **_: object) -> None:
        await app.ctx.bits.front.be_strict(head)

    app.register_middleware(finish, "response")  # type: ignore[arg-type]
    app.error_handler.add(Exception, explain)
    return app


def make_context(config: Config) -> Context:
    """Make the parts and tie them together."""
    counters = Counters()
    engine = make_engine(config.db_uri, recycle=config.db_recycle)
    store = Store(engine, make_engine(config.db_uri, recycle=config.db_recycle, spare=0))
    bus = Bus()
    presence = Presence(store, bus, counters)
    pushes = Live(
        config.time_zone,
        counters,
        clients=config.push_clients,
        threads=config.push_threads or min(4, len(os.sched_getaffinity(0))),
        ping=config.push_ping,
        stall=config.push_stall,
        backlog=config.push_backlog,
        listed=lambda: roster.listed,
    )
    roster = Roster(engine, lambda: pushes.refresh())
    # Who wants every request logged wants each to come by here.
    front = Front(pushes, counters, most=config.web_connections, fast=not config.log_requests)
    liveness = Liveness(presence, config.stale_after, utc_now, pushes.on_freshness)
    devices = Devices(store, presence, utc_now)
    caretaker = Caretaker(presence, store, rules_of(config), counters, utc_now)
    ingest = Ingest(
        presence,
        counters,
        utc_now,
        liveness.heard,
        allow=config.control_allow,
        limit=config.control_connections,
        keys=config.bridge_keys,
        ping=config.bridge_ping,
        owner=devices.owner,
    )
    forecaster = Forecaster(config, store, counters, utc_now, lambda: pushes.fresh.unknown, lambda: outlooks.outdate())
    outlooks = Outlooks(config, forecaster, utc_now)
    past = Temperatures(engine, utc_now, config.sensor_names, counters)
    # In this order: people first, then what follows from the event, then the bridges.
    bus.subscribe(pushes.on_events)
    bus.subscribe(liveness.on_events)
    bus.subscribe(forecaster.on_events)
    bus.subscribe(outlooks.on_events)
    bus.subscribe(past.on_events)
    bus.subscribe(ingest.on_events)
    bus.subscribe(devices.on_events)
    bus.subscribe(caretaker.on_events)
    follower = Follower(config.db_uri, presence, counters) if store.is_shared else None
    assets = Assets()
    return Context(
        config=config,
        counters=counters,
        engine=engine,
        store=store,
        presence=presence,
        roster=roster,
        follower=follower,
        devices=devices,
        caretaker=caretaker,
        liveness=liveness,
        live=pushes,
        forecaster=forecaster,
        rollup=Rollup(engine, counters, past.outdate),
        temperatures=past,
        outlooks=outlooks,
        front=front,
        ingest=ingest,
        assets=assets,
        renderer=Renderer(config, assets),
        home=HomePage(),
        feeds=Feeds(),
        api=Answers(),
        limiter=Limiter(config.api_rate),
        attempts=Limiter(config.login_rate),
        guesses=Limiter(ADDRESSES * config.login_rate),
        history=History(counters),
        signer=Signer(config),
        wiki=Wiki(engine),
        shelf=wiki.Shelf(),
    )


async def finish(request: Request, response: HTTPResponse) -> None:
    """Add what every page needs, and log the request where that is wanted."""
    if response.content_type and response.content_type.startswith("text/html"):
        response.headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
        response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    access = logging.getLogger("bits.access")
    # A connection that was handed over to the hub ends here too, with an answer that is never sent.
    if access.isEnabledFor(logging.INFO) and request.transport and not request.transport.is_closing():
        from bits.web.auth import client_address

        access.info("%s %s %s %d", client_address(request), request.method, request.path, response.status)


async def prepare(config: Config) -> str:
    """Bring the database to this program's schema, with the first pages, and let go of it. Returns a sentence."""
    engine = make_engine(config.db_uri)
    try:
        said = await upgrade(engine)
        await folder.first_pages(Wiki(engine), config)
        return said
    finally:
        await engine.dispose()


def bind(config: Config, *, shared: bool = False) -> tuple[socket, socket]:
    """Open the listening sockets: for browsers, for bridges.

    Args:
        shared: they are a worker's own, beside others on the same ports.
    """
    if config.web_usocket:
        web = listen.unix(
            config.web_usocket,
            uid=config.web_usocket_uid,
            gid=config.web_usocket_gid,
            mode=config.web_usocket_mode,
            backlog=BACKLOG,
            key="web_usocket",
        )
    else:
        web = listen.tcp(config.web_host, config.web_port, backlog=BACKLOG, key="web_port", shared=shared)
    if config.control_usocket:
        control = listen.unix(
            config.control_usocket,
            uid=config.control_usocket_uid,
            gid=config.control_usocket_gid,
            mode=config.control_usocket_mode,
            backlog=128,
            key="control_usocket",
        )
    else:
        control = listen.tcp(config.control_host, config.control_port, backlog=128, key="control_port", shared=shared)
    return web, control


def announce(web: str, control: str) -> None:
    """Print where to find the server, for people and for scripts that wait for the word."""
    page = web if web.startswith("unix:") else f"http://{web}/"
    lines = [f"ready  page {page}  bridges {control}"]
    if not control.startswith("unix:"):
        host, _, port = control.rpartition(":")
        lines.append(f"try:   printf 'status 1\\n' | nc -w 1 {host.strip('[]')} {port}    (or: bits send status 1)")
    print("\n".join(lines), flush=True)


def serve(config: Config) -> None:
    """Run the server until it is told to stop.

    Raises:
        BitsError: an address is taken, the database cannot be used, or the front end is not built.
    """
    set_up_logging(config)
    log.info(asyncio.run(prepare(config)))
    for warning in doctor.warnings(config):
        log.warning("%s", warning)
    if config.workers > 1:
        supervise(config, bind, run, announce)
        return
    web, control = bind(config)
    addresses = listen.address(web), listen.address(control)
    run(config, web, control, lambda: announce(*addresses))


def run(config: Config, web: socket, control: socket, ready: Callable[[], None]) -> None:
    """Be a server process, until told to stop."""
    limits.reserve(doctor.needed(config))
    app = create_app(config, web, control, ready)
    # Connections come in by the front door. Sanic insists on a socket to listen on: it gets one nobody knows.
    with sockets.socket(sockets.AF_UNIX) as nowhere:
        nowhere.bind("")
        app.run(sock=nowhere, single_process=True, motd=False, access_log=False)
