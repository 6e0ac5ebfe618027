"""HTML, JSON and push over HTTP, on Sanic."""
