"""Members, as administrators manage them."""

from __future__ import annotations

from sanic import Blueprint

bp = Blueprint("manage")
