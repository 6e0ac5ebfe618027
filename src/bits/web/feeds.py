"""What happened as a feed, what is to come as a calendar."""

from __future__ import annotations

from sanic import Blueprint

bp = Blueprint("feeds")
