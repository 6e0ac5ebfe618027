"""What every handler may reach, typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from sanic import Request

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from bits.caretaker import Caretaker
    from bits.config import Config
    from bits.counters import Counters
    from bits.devices import Devices
    from bits.follow import Follower
    from bits.forecaster import Forecaster
    from bits.ingest import Ingest
    from bits.liveness import Liveness
    from bits.presence import Presence
    from bits.rollup import Rollup
    from bits.roster import Roster
    from bits.store import Store
    from bits.web.auth import Signer
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
    from bits.web.wiki import Shelf
    from bits.wiki import Wiki


@dataclass(slots=True)
class Context:
    """The parts of one running server, made by app.create_app and started and stopped by its listeners."""

    config: Config
    counters: Counters
    engine: AsyncEngine
    store: Store
    presence: Presence
    roster: Roster
    follower: Follower | None  # only where other nodes may write to the log
    devices: Devices
    caretaker: Caretaker
    liveness: Liveness
    live: Live
    forecaster: Forecaster
    rollup: Rollup
    temperatures: Temperatures
    outlooks: Outlooks
    front: Front
    ingest: Ingest
    assets: Assets
    renderer: Renderer
    home: HomePage
    feeds: Feeds
    api: Answers
    limiter: Limiter  # of what tokens write
    attempts: Limiter  # at passwords, from one address
    guesses: Limiter  # at one name's password, from anywhere
    history: History
    signer: Signer
    wiki: Wiki
    shelf: Shelf


def of(request: Request) -> Context:
    """Return the context of the server that a request came to."""
    return cast(Context, request.app.ctx.bits)
