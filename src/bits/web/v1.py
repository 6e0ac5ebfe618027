"""The API, version 1."""

from __future__ import annotations

from sanic import Blueprint

bp = Blueprint("v1")
