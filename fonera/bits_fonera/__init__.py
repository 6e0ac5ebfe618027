"""The bridge between a space's board and the BITS server: standard library only, for routers. See docs/fonera.md."""

__version__ = "0.1.0"
