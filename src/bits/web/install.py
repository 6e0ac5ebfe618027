"""What makes the page an app, and other pages' widgets."""

from __future__ import annotations

from sanic import Blueprint

bp = Blueprint("install")
