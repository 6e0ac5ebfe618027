"""A member's own account: password, name, tokens."""

from __future__ import annotations

from sanic import Blueprint

bp = Blueprint("account")
