"""Openings and closures to come, as members announce them."""

from __future__ import annotations

from sanic import Blueprint

bp = Blueprint("announcements")
