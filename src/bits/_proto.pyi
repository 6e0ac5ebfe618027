from typing import Literal, Self, TypeAlias, final

from typing_extensions import disjoint_base

REASONS: tuple[str, ...]

@disjoint_base
class _Value:
    __match_args__: tuple[str, ...]
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Status(_Value):
    __match_args__ = ("value",)
    def __init__(self, value: str) -> None: ...
    @property
    def value(self) -> Literal["open", "closed", "away"]: ...

@final
class Temperature(_Value):
    __match_args__ = ("sensor", "value")
    def __init__(self, sensor: int, value: float) -> None: ...
    @property
    def sensor(self) -> int: ...
    @property
    def value(self) -> float: ...

@final
class Enter(_Value):
    __match_args__ = ("person",)
    def __init__(self, person: int) -> None: ...
    @property
    def person(self) -> int: ...

@final
class Leave(_Value):
    __match_args__ = ("person",)
    def __init__(self, person: int) -> None: ...
    @property
    def person(self) -> int: ...

@final
class Message(_Value):
    __match_args__ = ("text",)
    def __init__(self, text: str) -> None: ...
    @property
    def text(self) -> str: ...

@final
class Sound(_Value):
    __match_args__ = ("number",)
    def __init__(self, number: int) -> None: ...
    @property
    def number(self) -> int: ...

@final
class Seen(_Value):
    __match_args__ = ("digest",)
    def __init__(self, digest: str) -> None: ...
    @property
    def digest(self) -> str: ...

@final
class Gone(_Value):
    __match_args__ = ("digest",)
    def __init__(self, digest: str) -> None: ...
    @property
    def digest(self) -> str: ...

@final
class Hello(_Value):
    __match_args__ = ("bridge", "proof")
    def __init__(self, bridge: str, proof: str | None = None) -> None: ...
    @property
    def bridge(self) -> str: ...
    @property
    def proof(self) -> str | None: ...

@final
class Nonce(_Value):
    __match_args__ = ("value",)
    def __init__(self, value: str) -> None: ...
    @property
    def value(self) -> str: ...

@final
class Welcome(_Value):
    __match_args__ = ("last",)
    def __init__(self, last: int) -> None: ...
    @property
    def last(self) -> int: ...

@final
class Numbered(_Value):
    __match_args__ = ("n", "age_ms", "line")
    def __init__(self, n: int, age_ms: int, line: NumberedEvent | Malformed) -> None: ...
    @property
    def n(self) -> int: ...
    @property
    def age_ms(self) -> int: ...
    @property
    def line(self) -> NumberedEvent | Malformed: ...

@final
class Ack(_Value):
    __match_args__ = ("n",)
    def __init__(self, n: int) -> None: ...
    @property
    def n(self) -> int: ...

@final
class Nak(_Value):
    __match_args__ = ("n", "reason")
    def __init__(self, n: int, reason: str) -> None: ...
    @property
    def n(self) -> int: ...
    @property
    def reason(self) -> str: ...

@final
class Ping(_Value):
    __match_args__ = ("token",)
    def __init__(self, token: str) -> None: ...
    @property
    def token(self) -> str: ...

@final
class Pong(_Value):
    __match_args__ = ("token",)
    def __init__(self, token: str) -> None: ...
    @property
    def token(self) -> str: ...

@final
class Malformed(_Value):
    __match_args__ = ("reason", "line")
    def __init__(self, reason: str, line: bytes) -> None: ...
    @property
    def reason(self) -> str: ...
    @property
    def line(self) -> bytes: ...

Event: TypeAlias = Status | Temperature | Enter | Leave | Message | Sound
NumberedEvent: TypeAlias = Event | Seen | Gone
Line: TypeAlias = Event | Hello | Nonce | Welcome | Numbered | Ack | Nak | Ping | Pong | Malformed

@final
class Decoder:
    def __new__(cls, max_line: int = 4096) -> Self: ...
    @property
    def pending(self) -> int: ...
    def feed(self, data: bytes) -> list[Line]: ...

def encode(line: Line, version: int = 1) -> bytes: ...
