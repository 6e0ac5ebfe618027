from typing import Any

REASONS: tuple[str, ...]
VERDICTS: tuple[str, ...]
ROUTES: tuple[str, ...]

def read(data: bytes, seen: int = 0) -> tuple[str, int, dict[str, Any]]: ...
