"""The API, version 1: docs/api.md."""

from __future__ import annotations

from bits.web.v1.routes import bp

__all__ = ["bp"]
