"""The wiki: pages that members write."""

from __future__ import annotations

from sanic import Blueprint

bp = Blueprint("wiki")
