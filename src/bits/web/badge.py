"""The status as a small picture."""

from __future__ import annotations

from sanic import Blueprint

bp = Blueprint("badge")
