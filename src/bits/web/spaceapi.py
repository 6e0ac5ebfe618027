"""The state in the words of the SpaceAPI."""

from __future__ import annotations

from sanic import Blueprint

bp = Blueprint("spaceapi")
