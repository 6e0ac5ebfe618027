"""The miniprotocol, sans I/O: bytes from a board or a bridge in, lines out; lines in, bytes out.

The grammar, each limit with its reason and each reason for refusal are in docs/protocol.md, the normative
page. A bad line is data, not an exception: noise on a serial cable must never take the link down.

The helpers that judge a word take a pointer and a length, touch no Python object and answer with a Reason.
`read_command` and `read_numbered` turn Reasons into objects, without going through `__init__`: what came off
the wire has been judged already. What came before is not even judged again (`read_event`).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyObject_Free
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF, Py_XINCREF
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from binascii import b2a_base64
from decimal import Decimal

cdef extern from "Python.h":
    # Memory with a size, a type and one owner. No field is set, so no field may be a Python object.
    object PyObject_New "_PyObject_New"(PyTypeObject *kind)
    double PyOS_string_to_double(const char *text, char **end, PyObject *overflow) except? -1.0

cdef extern from "<float.h>":
    const int FLT_EVAL_METHOD

cdef extern from "<math.h>":
    const double NAN

# The limits; docs/protocol.md, "Limits", has the reason for each.
cdef enum:
    KEPT = 64                # bytes of a refused line that are kept for the log
    MOST_LINE = 1 << 20      # largest `max_line` that may be asked for
    MOST_TEXT = 3000         # bytes of UTF-8 in a message
    MOST_DIGITS = 19         # of an integer: as many as 2^63 - 1 has, so that 64 bits cannot overflow
    MOST_DECIMAL = 32        # characters of a temperature
    MOST_SENSOR = 255
    MOST_PERSON = 999999
    MOST_SOUND = 255
    MOST_NAME = 32           # of a bridge, or of a reason
    HMAC = 64                # hex digits of a proof or a digest: HMAC-SHA256
    LEAST_NONCE = 32
    MOST_NONCE = 128
    MOST_TOKEN = 64
    MOST_ARGUMENTS = 3       # of any command

cdef double COLDEST = -273.15, HOTTEST = 1000.0
cdef int64_t MOST_AGE = 1000000000000
cdef int64_t MOST_NUMBER = 0x7FFFFFFFFFFFFFFF

# Why a line is refused. The numbers are ours; the names are the protocol's, in the same order.
cdef enum Reason:
    FINE, EMPTY_LINE, LINE_TOO_LONG, UNKNOWN_COMMAND, WRONG_WORD_COUNT, BAD_NUMBER, OUT_OF_RANGE
    BAD_BASE64, BAD_UTF8, BAD_TEXT, BAD_TOKEN

REASONS = (
    "empty-line", "line-too-long", "unknown-command", "wrong-word-count", "bad-number", "out-of-range",
    "bad-base64", "bad-utf8", "bad-text", "bad-token",
)
cdef tuple REASON_NAMES = REASONS    # without a look-up in the module, and safe from a rebinding of REASONS

cdef enum Command:
    STATUS, TEMPERATURE, ENTER, LEAVE, MESSAGE, SOUND, SEEN, GONE
    HELLO, NONCE, WELCOME, ACK, NAK, PING, PONG

# Where a command may stand: by itself, behind a number, or both.
cdef enum:
    ALONE = 1
    NUMBERED = 2
    ANYWHERE = 3

cdef struct Keyword:
    const char *name
    Py_ssize_t length
    Command command
    int least           # arguments
    int most
    int places

# The keyword table: a new command is one line here, one branch in `read_command` and one in `text_of`.
# The busiest come first, since it is searched from the top.
cdef enum:
    KEYWORD_COUNT = 15

cdef Keyword[KEYWORD_COUNT] KEYWORDS = [
    Keyword(b"temperature", 11, TEMPERATURE, 2, 2, ANYWHERE),
    Keyword(b"status", 6, STATUS, 1, 1, ANYWHERE),
    Keyword(b"enter", 5, ENTER, 1, 1, ANYWHERE),
    Keyword(b"leave", 5, LEAVE, 1, 1, ANYWHERE),
    Keyword(b"message", 7, MESSAGE, 1, 1, ANYWHERE),
    Keyword(b"sound", 5, SOUND, 1, 1, ANYWHERE),
    Keyword(b"seen", 4, SEEN, 1, 1, NUMBERED),
    Keyword(b"gone", 4, GONE, 1, 1, NUMBERED),
    Keyword(b"ping", 4, PING, 1, 1, ALONE),
    Keyword(b"pong", 4, PONG, 1, 1, ALONE),
    Keyword(b"ack", 3, ACK, 1, 1, ALONE),
    Keyword(b"nak", 3, NAK, 2, 2, ALONE),
    Keyword(b"hello", 5, HELLO, 2, 3, ALONE),
    Keyword(b"nonce", 5, NONCE, 1, 1, ALONE),
    Keyword(b"welcome", 7, WELCOME, 1, 1, ALONE),
]


# ---- Lines as values --------------------------------------------------------------------------------------

cdef class _Value:
    """Compare, hash and print by the fields named in `__match_args__`."""

    __match_args__ = ()
    cdef bint made   # decoded values are shared: a second __init__ would change one under its other readers

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return fields(self) == fields(other)

    def __hash__(self):
        return hash((type(self), fields(self)))

    def __repr__(self):
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__name__}({shown})"


cdef tuple fields(_Value value):
    return tuple([getattr(value, name) for name in value.__match_args__])


cdef int seal(_Value value) except -1:
    """Let a constructor run once."""
    if value.made:
        raise TypeError(f"{value!r} was made already and cannot change; make a new {type(value).__name__}")
    value.made = True
    return 0


cdef int64_t integer(object value, str name, int64_t least, int64_t most) except? -1:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, expected an integer")
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}, expected {least} to {most}")
    return value


cdef str check_token(
    str value, str name, str expected, Reason (*judge)(const char *, Py_ssize_t) noexcept nogil
):
    # A character outside ASCII may not survive as UTF-8 (a lone surrogate), and no token admits one.
    cdef bytes data = value.encode() if value.isascii() else b""
    if judge(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) != FINE:
        raise ValueError(f"{name} is {value!r}, expected {expected}")
    return value


cdef str TOKEN_FORM = "1 to 64 printable ASCII characters, no space"


cdef enum:
    IS_CLOSED, IS_OPEN, IS_AWAY

cdef tuple STATUS_VALUES = ("closed", "open", "away")


@cython.final
cdef class Status(_Value):
    """State whether the space is open.

    Args:
        value: "open", "closed" or "away". Version 1 knows only 1 (open) and 0 (the rest), so without a number
            "away" comes back as "closed".
    Raises:
        ValueError: another value.
    """

    __match_args__ = ("value",)
    cdef int code

    def __init__(self, str value not None):
        if value not in STATUS_VALUES:
            raise ValueError(f"status is {value!r}, expected 'open', 'closed' or 'away'")
        seal(self)
        self.code = STATUS_VALUES.index(value)

    @property
    def value(self):
        return STATUS_VALUES[self.code]


@cython.final
cdef class Temperature(_Value):
    """State how warm it is at a sensor.

    Args:
        sensor: 0 to 255.
        value: degrees Celsius, -273.15 to 1000, finite.
    Raises:
        ValueError: either is out of range.
    """

    __match_args__ = ("sensor", "value")
    cdef readonly int sensor
    cdef readonly double value

    def __init__(self, sensor, double value):
        checked = integer(sensor, "sensor", 0, MOST_SENSOR)
        if not COLDEST <= value <= HOTTEST:
            raise ValueError(f"temperature is {value!r}, expected {COLDEST} to {HOTTEST} degrees Celsius")
        seal(self)
        self.sensor = <int> checked
        self.value = value


@cython.final
cdef class Enter(_Value):
    """State that a person came.

    Args:
        person: keypad number, 0 to 999999.
    Raises:
        ValueError: out of range.
    """

    __match_args__ = ("person",)
    cdef readonly int person

    def __init__(self, person):
        checked = integer(person, "person", 0, MOST_PERSON)
        seal(self)
        self.person = <int> checked


@cython.final
cdef class Leave(_Value):
    """State that a person went.

    Args:
        person: keypad number, 0 to 999999.
    Raises:
        ValueError: out of range.
    """

    __match_args__ = ("person",)
    cdef readonly int person

    def __init__(self, person):
        checked = integer(person, "person", 0, MOST_PERSON)
        seal(self)
        self.person = <int> checked


@cython.final
cdef class Message(_Value):
    """Carry a text for everyone and for the display.

    Args:
        text: 1 to 3000 bytes as UTF-8, without NUL (PostgreSQL cannot store it) or lone surrogates.
    Raises:
        ValueError: empty, too long, or a character that is not admitted.
    """

    __match_args__ = ("text",)
    cdef readonly str text

    def __init__(self, str text not None):
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise ValueError(f"text has a lone surrogate at {error.start}, expected none") from None
        if not 1 <= size <= MOST_TEXT:
            raise ValueError(f"text is {size} bytes as UTF-8, expected 1 to {MOST_TEXT}")
        if "\0" in text:
            raise ValueError(f"text has a NUL at {text.index(chr(0))}, expected none")
        seal(self)
        self.text = text


@cython.final
cdef class Sound(_Value):
    """Ask for a sound to be played at the space.

    Args:
        number: 0 to 255.
    Raises:
        ValueError: out of range.
    """

    __match_args__ = ("number",)
    cdef readonly int number

    def __init__(self, number):
        checked = integer(number, "sound", 0, MOST_SOUND)
        seal(self)
        self.number = <int> checked


cdef str HMAC_FORM = "64 lower-case hex digits"


@cython.final
cdef class Seen(_Value):
    """State that a device has been about for a while. Stands behind a number only.

    Args:
        digest: of its MAC address, 64 lower-case hex digits; docs/protocol.md, "Devices".
    Raises:
        ValueError: not of that form.
    """

    __match_args__ = ("digest",)
    cdef readonly str digest

    def __init__(self, str digest not None):
        check_token(digest, "digest", HMAC_FORM, judge_hmac)
        seal(self)
        self.digest = digest


@cython.final
cdef class Gone(_Value):
    """State that a device has not been about for longer. Stands behind a number only.

    Args:
        digest: of its MAC address, 64 lower-case hex digits; docs/protocol.md, "Devices".
    Raises:
        ValueError: not of that form.
    """

    __match_args__ = ("digest",)
    cdef readonly str digest

    def __init__(self, str digest not None):
        check_token(digest, "digest", HMAC_FORM, judge_hmac)
        seal(self)
        self.digest = digest


@cython.final
cdef class Hello(_Value):
    """Open version 2.

    Args:
        bridge: name of the bridge, 1 to 32 of A-Z a-z 0-9 . _ -
        proof: 64 lower-case hex digits, or None to ask for a nonce.
    Raises:
        ValueError: either is not of that form.
    """

    __match_args__ = ("bridge", "proof")
    cdef readonly str bridge
    cdef readonly str proof

    def __init__(self, str bridge not None, str proof=None):
        check_token(bridge, "bridge", "1 to 32 of A-Z a-z 0-9 . _ -", judge_bridge)
        if proof is not None:
            check_token(proof, "proof", HMAC_FORM, judge_hmac)
        seal(self)
        self.bridge = bridge
        self.proof = proof


@cython.final
cdef class Nonce(_Value):
    """Answer a hello that had no proof.

    Args:
        value: 32 to 128 lower-case hex digits.
    Raises:
        ValueError: not of that form.
    """

    __match_args__ = ("value",)
    cdef readonly str value

    def __init__(self, str value not None):
        check_token(value, "nonce", "32 to 128 lower-case hex digits", judge_nonce)
        seal(self)
        self.value = value


@cython.final
cdef class Welcome(_Value):
    """Tell a bridge where to go on.

    Args:
        last: highest number durably stored for it, 0 to 2^63 - 1; 0 is none.
    Raises:
        ValueError: out of range.
    """

    __match_args__ = ("last",)
    cdef readonly int64_t last

    def __init__(self, last):
        checked = integer(last, "last", 0, MOST_NUMBER)
        seal(self)
        self.last = checked


# Rule 1: `what` is one of nine types, checked in both places that set it, and none of them can hold a
# Numbered. No cycle can pass through one, so the collector need not know of it.
@cython.final
cdef class Numbered(_Value):
    """Carry a version 1 line that is numbered, so that it can be acknowledged.

    Args:
        n: 1 to 2^63 - 1, rising by one per bridge.
        age_ms: milliseconds since it happened, 0 to 10^12.
        line: what happened; Malformed when only that part of the line was bad, so that n can be refused.
    Raises:
        ValueError: a number is out of range.
        TypeError: line is of another type.
    """

    __match_args__ = ("n", "age_ms", "line")
    cdef readonly int64_t n
    cdef readonly int64_t age_ms
    cdef PyObject *what     # owned, or NULL

    def __init__(self, n, age_ms, line):
        if not isinstance(line, (Status, Temperature, Enter, Leave, Message, Sound, Seen, Gone, Malformed)):
            raise TypeError(f"line is {line!r}, expected a line of version 1, a Seen, a Gone or a Malformed")
        number = integer(n, "n", 1, MOST_NUMBER)
        age = integer(age_ms, "age_ms", 0, MOST_AGE)
        seal(self)
        self.n = number
        self.age_ms = age
        Py_INCREF(line)
        self.what = <PyObject *> line

    @property
    def line(self):
        return <object> self.what if self.what is not NULL else None


@cython.linetrace(False)
cdef void free_numbered(PyObject *numbered) noexcept:
    Py_XDECREF((<Numbered> numbered).what)
    PyObject_Free(numbered)

# Instead of a __dealloc__, around which Cython puts the pending exception aside: a sixth of the time of a line.
(<PyTypeObject *> Numbered).tp_dealloc = free_numbered


@cython.final
cdef class Ack(_Value):
    """Acknowledge everything up to a number.

    Args:
        n: 1 to 2^63 - 1.
    Raises:
        ValueError: out of range.
    """

    __match_args__ = ("n",)
    cdef readonly int64_t n

    def __init__(self, n):
        checked = integer(n, "n", 1, MOST_NUMBER)
        seal(self)
        self.n = checked


@cython.final
cdef class Nak(_Value):
    """Refuse a numbered line for good.

    Args:
        n: 1 to 2^63 - 1.
        reason: 1 to 32 of a-z 0-9 - ; need not be one of REASONS, since rules above the grammar refuse too.
    Raises:
        ValueError: either is not of that form.
    """

    __match_args__ = ("n", "reason")
    cdef readonly int64_t n
    cdef readonly str reason

    def __init__(self, n, str reason not None):
        checked = integer(n, "n", 1, MOST_NUMBER)
        check_token(reason, "reason", "1 to 32 of a-z 0-9 -", judge_reason)
        seal(self)
        self.n = checked
        self.reason = reason


@cython.final
cdef class Ping(_Value):
    """Ask for a sign of life.

    Args:
        token: 1 to 64 printable ASCII characters, no space.
    Raises:
        ValueError: not of that form.
    """

    __match_args__ = ("token",)
    cdef readonly str token

    def __init__(self, str token not None):
        check_token(token, "token", TOKEN_FORM, judge_token)
        seal(self)
        self.token = token


@cython.final
cdef class Pong(_Value):
    """Answer a ping.

    Args:
        token: the ping's, 1 to 64 printable ASCII characters, no space.
    Raises:
        ValueError: not of that form.
    """

    __match_args__ = ("token",)
    cdef readonly str token

    def __init__(self, str token not None):
        check_token(token, "token", TOKEN_FORM, judge_token)
        seal(self)
        self.token = token


@cython.final
cdef class Malformed(_Value):
    """Stand for a line that was refused.

    Args:
        reason: one of REASONS.
        line: the line without its end; the first 64 bytes are kept, since it goes to the log.
    Raises:
        ValueError: an unknown reason.
    """

    __match_args__ = ("reason", "line")
    cdef readonly str reason
    cdef readonly bytes line

    def __init__(self, str reason not None, bytes line not None):
        if reason not in REASON_NAMES:
            raise ValueError(f"reason is {reason!r}, expected one of {', '.join(REASON_NAMES)}")
        seal(self)
        self.reason = reason
        self.line = line[:KEPT]


Event = Status | Temperature | Enter | Leave | Message | Sound
NumberedEvent = Event | Seen | Gone
Line = Event | Hello | Nonce | Welcome | Numbered | Ack | Nak | Ping | Pong | Malformed

# A status has but three values on the wire: one object each serves every line.
cdef Status CLOSED = Status("closed")
cdef Status OPEN = Status("open")
cdef Status AWAY = Status("away")


# ---- Words: a pointer, a length, a verdict -----------------------------------------------------------------

cdef struct Word:
    const char *at
    Py_ssize_t length


cdef inline Reason read_integer(Word word, uint64_t least, uint64_t most, uint64_t *out) noexcept nogil:
    """Read digits. MOST_DIGITS of them are below 2^64, so the sum cannot overflow."""
    cdef uint64_t value = 0
    cdef uint8_t digit
    cdef Py_ssize_t i
    if not 1 <= word.length <= MOST_DIGITS:
        return BAD_NUMBER
    for i in range(word.length):
        digit = <uint8_t> (word.at[i] - c"0")
        if digit > 9:
            return BAD_NUMBER
        value = value * 10 + digit
    if not least <= value <= most:
        return OUT_OF_RANGE
    out[0] = value
    return FINE


cdef double[MOST_DIGITS + 1] POWERS_OF_TEN = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
    1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
]


cdef inline Reason scan_decimal(Word word, double *out) noexcept nogil:
    """Read a decimal exactly, or leave NaN where it is well-formed but needs the long way round.

    Source: W. D. Clinger, "How to read floating point numbers accurately" (1990): an integer up to 2^53 and a
    power of ten up to 10^22 are both exact, so their quotient is rounded once, hence correctly. Not so where
    the compiler keeps more than 53 bits (FLT_EVAL_METHOD; the x87).
    """
    cdef uint64_t mantissa = 0
    cdef int digits = 0, fraction = 0
    cdef bint negative = False, after_point = False
    cdef uint8_t digit
    cdef Py_ssize_t i = 0
    if not 1 <= word.length <= MOST_DECIMAL:
        return BAD_NUMBER
    if word.at[0] == c"-" or word.at[0] == c"+":
        negative = word.at[0] == c"-"
        i = 1
    while i < word.length:
        digit = <uint8_t> (word.at[i] - c"0")
        if digit <= 9:
            mantissa = mantissa * 10 + digit    # may go round, being unsigned; MOST_DIGITS guards its use
            digits += 1
            fraction += after_point
        elif word.at[i] == c"." and not after_point:
            after_point = True
        else:
            return BAD_NUMBER
        i += 1
    if digits == 0:
        return BAD_NUMBER
    if digits > MOST_DIGITS or mantissa > <uint64_t> 1 << 53 or FLT_EVAL_METHOD != 0:
        out[0] = NAN
        return FINE
    out[0] = <double> mantissa / POWERS_OF_TEN[fraction]
    if negative:
        out[0] = -out[0]
    return FINE


cdef inline int read_decimal(Word word, double least, double most, double *out) except -1:
    """Read a decimal as `float` would: correctly rounded."""
    cdef char text[MOST_DECIMAL + 1]
    cdef Reason reason = scan_decimal(word, out)
    if reason != FINE:
        return reason
    if out[0] != out[0]:
        memcpy(text, word.at, word.length)      # scan_decimal let at most MOST_DECIMAL through
        text[word.length] = 0
        out[0] = PyOS_string_to_double(text, NULL, NULL)
    return FINE if least <= out[0] <= most else OUT_OF_RANGE


# What a byte may be part of; one look-up answers for every kind of token.
cdef enum:
    IN_BRIDGE = 1
    IN_REASON = 2
    IN_HEX = 4
    IN_TOKEN = 8

cdef uint8_t[256] KINDS
cdef uint8_t[256] SEXTETS       # base64, RFC 4648 section 4; 64 is no digit


cdef int fill_tables() except -1:
    cdef int c
    lower, digits = b"abcdefghijklmnopqrstuvwxyz", b"0123456789"
    for c in range(256):
        KINDS[c] = (
            (IN_BRIDGE if c in lower + lower.upper() + digits + b"._-" else 0)
            | (IN_REASON if c in lower + digits + b"-" else 0)
            | (IN_HEX if c in digits + b"abcdef" else 0)
            | (IN_TOKEN if 0x21 <= c <= 0x7E else 0)
        )
        SEXTETS[c] = 64
    for c, digit in enumerate(lower.upper() + lower + digits + b"+/"):
        SEXTETS[<uint8_t> digit] = c
    return 0

fill_tables()


cdef inline Reason judge(
    const char *at, Py_ssize_t length, int kind, Py_ssize_t least, Py_ssize_t most
) noexcept nogil:
    """Check that every byte of a token is of a kind, and their number."""
    cdef Py_ssize_t i
    if not least <= length <= most:
        return BAD_TOKEN
    for i in range(length):
        if not KINDS[<uint8_t> at[i]] & kind:
            return BAD_TOKEN
    return FINE


cdef Reason judge_bridge(const char *at, Py_ssize_t length) noexcept nogil:
    return judge(at, length, IN_BRIDGE, 1, MOST_NAME)


cdef Reason judge_reason(const char *at, Py_ssize_t length) noexcept nogil:
    return judge(at, length, IN_REASON, 1, MOST_NAME)


cdef Reason judge_hmac(const char *at, Py_ssize_t length) noexcept nogil:
    return judge(at, length, IN_HEX, HMAC, HMAC)


cdef Reason judge_nonce(const char *at, Py_ssize_t length) noexcept nogil:
    return judge(at, length, IN_HEX, LEAST_NONCE, MOST_NONCE)


cdef Reason judge_token(const char *at, Py_ssize_t length) noexcept nogil:
    return judge(at, length, IN_TOKEN, 1, MOST_TOKEN)


cdef inline Py_ssize_t decoded_size(Word word) noexcept nogil:
    """Return how many bytes base64 stands for, by its length and padding alone; -1 if it cannot be base64."""
    if word.length == 0 or word.length % 4:
        return -1
    return word.length // 4 * 3 - (word.at[word.length - 1] == c"=") - (
        word.at[word.length - 1] == c"=" and word.at[word.length - 2] == c"=")


# Proof that no index is out of bounds, so that the checks may go. decoded_size answered: word.length is 4q,
# q >= 1, and size is 3q - p with p the padding, 0 to 2. The loop reads 4i to 4i+3 and writes 3i to 3i+2 for
# whole groups only, i < size // 3 <= q. A rest of 1 or 2 bytes means p is 2 or 1, so the last group,
# i = q - 1, is not yet read, and reads end at 4i+2, writes at 3i+1 = size - 1. SEXTETS' index is a uint8_t.
@cython.boundscheck(False)
@cython.wraparound(False)
cdef Reason decode_base64(Word word, uint8_t *out, Py_ssize_t size) noexcept nogil:
    """Decode, strictly: no white space, padding required, and the bits it leaves over must be zero."""
    cdef const uint8_t *at = <const uint8_t *> word.at
    cdef Py_ssize_t i, whole = size // 3, rest = size % 3
    cdef uint8_t a, b, c, d
    for i in range(whole):
        a, b, c, d = SEXTETS[at[0]], SEXTETS[at[1]], SEXTETS[at[2]], SEXTETS[at[3]]
        if (a | b | c | d) & 64:
            return BAD_BASE64
        out[0] = <uint8_t> (a << 2 | b >> 4)
        out[1] = <uint8_t> (b << 4 | c >> 2)
        out[2] = <uint8_t> (c << 6 | d)
        at += 4
        out += 3
    if rest == 0:
        return FINE
    a, b = SEXTETS[at[0]], SEXTETS[at[1]]
    c = SEXTETS[at[2]] if rest == 2 else 0
    if (a | b | c) & 64 or (c & 0x03 if rest == 2 else b & 0x0F):
        return BAD_BASE64
    out[0] = <uint8_t> (a << 2 | b >> 4)
    if rest == 2:
        out[1] = <uint8_t> (b << 4 | c >> 2)
    return FINE


cdef int read_text(Word word, Message message) except -1:
    """Read base64 of UTF-8 into a new message."""
    cdef Py_ssize_t size = decoded_size(word)
    cdef bytes data
    cdef str text
    if size < 0:
        return BAD_BASE64
    data = PyBytes_FromStringAndSize(NULL, size)
    if decode_base64(word, <uint8_t *> PyBytes_AS_STRING(data), size) != FINE:
        return BAD_BASE64
    try:
        text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(data), size, NULL)
    except UnicodeDecodeError:
        return BAD_UTF8
    if size > MOST_TEXT or "\0" in text:
        return BAD_TEXT
    message.made = True
    message.text = text
    return FINE


# ---- From bytes to lines -----------------------------------------------------------------------------------

cdef inline const Keyword *find_keyword(Word word) noexcept nogil:
    cdef int i
    for i in range(KEYWORD_COUNT):
        if KEYWORDS[i].length == word.length and memcmp(KEYWORDS[i].name, word.at, word.length) == 0:
            return &KEYWORDS[i]
    return NULL


cdef inline Word take_word(Word *rest) noexcept nogil:
    """Cut the first word and its space off the rest; at the end of the line, rest.at becomes NULL."""
    cdef Word word = rest[0]
    cdef const char *space = <const char *> memchr(rest.at, c" ", rest.length)
    if space is NULL:
        rest.at = NULL
        rest.length = 0
        return word
    word.length = space - rest.at
    rest.at = space + 1
    rest.length -= word.length + 1
    return word


cdef inline int take_arguments(Word rest, Word *arguments) noexcept nogil:
    """Split the rest of a line. Returns how many words there are, or -1: one too many, or an empty one."""
    cdef int count = 0
    while rest.at is not NULL:
        if count == MOST_ARGUMENTS:
            return -1
        arguments[count] = take_word(&rest)
        if arguments[count].length == 0:
            return -1
        count += 1
    return count


cdef inline bint take_integer(Word *rest, uint64_t least, uint64_t most, uint64_t *out) noexcept nogil:
    """Cut a good integer and the space after it off the rest, or answer False."""
    cdef uint64_t value = 0
    cdef Py_ssize_t i = 0
    cdef uint8_t digit = <uint8_t> (rest.at[0] - c"0")
    while digit <= 9:       # rule 3 ends this
        value = value * 10 + digit      # may go round, being unsigned; MOST_DIGITS guards its use
        i += 1
        digit = <uint8_t> (rest.at[i] - c"0")
    if rest.at[i] != c" " or not 1 <= i <= MOST_DIGITS or not least <= value <= most:
        return False
    rest.at += i + 1
    rest.length -= i + 1
    out[0] = value
    return True


cdef str text(Word word):
    return PyUnicode_DecodeASCII(word.at, word.length, NULL)


cdef Malformed refuse(int reason, Word line):
    cdef Malformed refused = Malformed.__new__(Malformed)
    refused.made = True
    refused.reason = REASON_NAMES[reason - 1]
    refused.line = PyBytes_FromStringAndSize(line.at, min(line.length, KEPT))
    return refused


cdef inline Temperature new_temperature(uint64_t sensor, double value):
    cdef Temperature temperature = <Temperature> PyObject_New(<PyTypeObject *> Temperature)
    temperature.made = True
    temperature.sensor = <int> sensor
    temperature.value = value
    return temperature


cdef inline Enter new_enter(uint64_t person):
    cdef Enter enter = <Enter> PyObject_New(<PyTypeObject *> Enter)
    enter.made = True
    enter.person = <int> person
    return enter


cdef inline Leave new_leave(uint64_t person):
    cdef Leave leave = <Leave> PyObject_New(<PyTypeObject *> Leave)
    leave.made = True
    leave.person = <int> person
    return leave


cdef inline Word after(Word line, Py_ssize_t length) noexcept nogil:
    line.at += length
    line.length -= length
    return line


cdef object read_plainly(Word line, int place):
    """Read what a board says most, in its usual form, in one go; whatever else it is, `read_command` judges it."""
    cdef Word rest
    cdef uint64_t number
    cdef double value
    if line.length > 12 and memcmp(line.at, b"temperature ", 12) == 0:
        rest = after(line, 12)
        if take_integer(&rest, 0, MOST_SENSOR, &number) and scan_decimal(rest, &value) == FINE:
            if COLDEST <= value <= HOTTEST:     # not so for NaN
                return new_temperature(number, value)
    elif line.length > 6 and memcmp(line.at, b"enter ", 6) == 0:
        if read_integer(after(line, 6), 0, MOST_PERSON, &number) == FINE:
            return new_enter(number)
    elif line.length > 6 and memcmp(line.at, b"leave ", 6) == 0:
        if read_integer(after(line, 6), 0, MOST_PERSON, &number) == FINE:
            return new_leave(number)
    return read_command(line, place)


cdef object read_command(Word line, int place):
    """Read a line, or what stands behind a number.

    Args:
        place: ALONE or NUMBERED.
    """
    cdef Word[MOST_ARGUMENTS] words
    cdef Word rest = line
    cdef const Keyword *keyword
    cdef int reason = FINE
    cdef uint64_t number = 0
    cdef int count
    cdef double value = 0
    cdef Message message
    cdef Sound sound
    cdef Seen seen
    cdef Gone gone
    cdef Hello hello
    cdef Nonce nonce
    cdef Welcome welcome
    cdef Ack ack
    cdef Nak nak
    cdef Ping ping
    cdef Pong pong

    if line.length == 0:
        return refuse(EMPTY_LINE, line)
    keyword = find_keyword(take_word(&rest))
    if keyword is NULL or not keyword.places & place:
        return refuse(UNKNOWN_COMMAND, line)
    count = take_arguments(rest, words)
    if not keyword.least <= count <= keyword.most:
        return refuse(WRONG_WORD_COUNT, line)

    if keyword.command == TEMPERATURE:
        reason = read_integer(words[0], 0, MOST_SENSOR, &number)
        if reason == FINE:
            reason = read_decimal(words[1], COLDEST, HOTTEST, &value)
        if reason == FINE:
            return new_temperature(number, value)
    elif keyword.command == STATUS:
        reason = read_integer(words[0], 0, 2 if place == NUMBERED else 1, &number)
        if reason == FINE:
            return AWAY if number == 2 else OPEN if number else CLOSED
    elif keyword.command == ENTER:
        reason = read_integer(words[0], 0, MOST_PERSON, &number)
        if reason == FINE:
            return new_enter(number)
    elif keyword.command == LEAVE:
        reason = read_integer(words[0], 0, MOST_PERSON, &number)
        if reason == FINE:
            return new_leave(number)
    elif keyword.command == MESSAGE:
        message = Message.__new__(Message)
        reason = read_text(words[0], message)
        if reason == FINE:
            return message
    elif keyword.command == SOUND:
        reason = read_integer(words[0], 0, MOST_SOUND, &number)
        if reason == FINE:
            sound = <Sound> PyObject_New(<PyTypeObject *> Sound)
            sound.made = True
            sound.number = <int> number
            return sound
    elif keyword.command == SEEN:
        reason = judge_hmac(words[0].at, words[0].length)
        if reason == FINE:
            seen = Seen.__new__(Seen)
            seen.made = True
            seen.digest = text(words[0])
            return seen
    elif keyword.command == GONE:
        reason = judge_hmac(words[0].at, words[0].length)
        if reason == FINE:
            gone = Gone.__new__(Gone)
            gone.made = True
            gone.digest = text(words[0])
            return gone
    elif keyword.command == PING:
        reason = judge_token(words[0].at, words[0].length)
        if reason == FINE:
            ping = Ping.__new__(Ping)
            ping.made = True
            ping.token = text(words[0])
            return ping
    elif keyword.command == PONG:
        reason = judge_token(words[0].at, words[0].length)
        if reason == FINE:
            pong = Pong.__new__(Pong)
            pong.made = True
            pong.token = text(words[0])
            return pong
    elif keyword.command == ACK:
        reason = read_integer(words[0], 1, MOST_NUMBER, &number)
        if reason == FINE:
            ack = Ack.__new__(Ack)
            ack.made = True
            ack.n = <int64_t> number
            return ack
    elif keyword.command == NAK:
        reason = read_integer(words[0], 1, MOST_NUMBER, &number)
        if reason == FINE:
            reason = judge_reason(words[1].at, words[1].length)
        if reason == FINE:
            nak = Nak.__new__(Nak)
            nak.made = True
            nak.n = <int64_t> number
            nak.reason = text(words[1])
            return nak
    elif keyword.command == HELLO:
        reason = read_integer(words[0], 2, 2, &number)
        if reason == FINE:
            reason = judge_bridge(words[1].at, words[1].length)
        if reason == FINE and count == 3:
            reason = judge_hmac(words[2].at, words[2].length)
        if reason == FINE:
            hello = Hello.__new__(Hello)
            hello.made = True
            hello.bridge = text(words[1])
            hello.proof = text(words[2]) if count == 3 else None
            return hello
    elif keyword.command == NONCE:
        reason = judge_nonce(words[0].at, words[0].length)
        if reason == FINE:
            nonce = Nonce.__new__(Nonce)
            nonce.made = True
            nonce.value = text(words[0])
            return nonce
    else:
        reason = read_integer(words[0], 0, MOST_NUMBER, &number)
        if reason == FINE:
            welcome = Welcome.__new__(Welcome)
            welcome.made = True
            welcome.last = <int64_t> number
            return welcome
    return refuse(reason, line)


cdef Reason why_not_numbered(Word rest) noexcept nogil:
    """Return why what follows the "@" does not begin with a good n and age."""
    cdef uint64_t number
    cdef Word age, n = take_word(&rest)
    cdef Reason reason
    if rest.at is NULL:
        return WRONG_WORD_COUNT
    age = take_word(&rest)
    if rest.at is NULL or age.length == 0:
        return WRONG_WORD_COUNT
    reason = read_integer(n, 1, MOST_NUMBER, &number)
    return reason if reason != FINE else read_integer(age, 0, MOST_AGE, &number)


cdef object read_numbered(Word line, const char *readable):
    """Read "@n age_ms event". Once n and age are known, a fault goes inside, so that n can be refused."""
    cdef Word rest
    cdef uint64_t n = 0, age_ms = 0
    cdef Numbered numbered
    rest.at = line.at + 1
    rest.length = line.length - 1
    if not (take_integer(&rest, 1, MOST_NUMBER, &n) and take_integer(&rest, 0, MOST_AGE, &age_ms)):
        rest.at = line.at + 1
        rest.length = line.length - 1
        return refuse(why_not_numbered(rest), line)
    numbered = <Numbered> PyObject_New(<PyTypeObject *> Numbered)
    numbered.made = True
    numbered.n = <int64_t> n
    numbered.age_ms = <int64_t> age_ms
    numbered.what = NULL
    numbered.what = read_event(rest, readable, NUMBERED)
    return numbered


# ---- Lines that were read before ---------------------------------------------------------------------------

# A space says the same few things over and over: a sensor wavers by a tenth of a degree, the same people come and go.
# A short line that was judged good gives the same immutable event again, without being judged again, and be it behind a
# number or not: so only what may stand in both places is remembered. Two lines with the same place in memory push each
# other out, so that memory is bounded, and looking takes the same time whatever a peer sends.
cdef enum:
    KNOWN_BITS = 12         # of the number of places
    LONGEST_KNOWN = 24      # bytes: "temperature 255 -20.1234"

# The bytes of a line, eight to a word; those past its end are 0. So lengths need not be compared: see `piece`.
cdef struct Known:
    PyObject *event         # owned, or NULL
    uint64_t a, b, c

cdef Known[1 << KNOWN_BITS] KNOWN
cdef uint8_t[2 * LONGEST_KNOWN] MASK       # all ones for each byte within a line, then zeros
memset(MASK, 0xFF, LONGEST_KNOWN)


cdef inline uint64_t piece(const char *at, Py_ssize_t past) noexcept nogil:
    """Take eight bytes, of which those past the line's end become 0, and no other can: no line has an LF in it."""
    cdef uint64_t text, mask
    memcpy(&text, at, 8)
    memcpy(&mask, MASK + past, 8)
    return (text ^ <uint64_t> 0x0A0A0A0A0A0A0A0A) & mask


cdef inline Known *place_of(uint64_t a, uint64_t b, uint64_t c) noexcept nogil:
    """Mix a line's bytes. A product's upper bits depend on all of its factors', so those are folded down and used."""
    cdef uint64_t mixed = a ^ b * <uint64_t> 0x9E3779B97F4A7C15 ^ (c << 29 | c >> 35)
    return &KNOWN[(mixed ^ mixed >> 32) * <uint64_t> 0xD6E8FEB86659FD93 >> (64 - KNOWN_BITS)]


cdef PyObject *owned(object event) noexcept:
    Py_INCREF(event)
    return <PyObject *> event


cdef PyObject *learn(Word line, int place, Known *known, uint64_t a, uint64_t b, uint64_t c) except NULL:
    event = read_plainly(line, place)
    kind = type(event)
    if event is AWAY:
        pass    # behind a number only
    elif kind is Temperature or kind is Status or kind is Enter or kind is Leave or kind is Sound:
        Py_XDECREF(known.event)
        known.event, known.a, known.b, known.c = owned(event), a, b, c
    return owned(event)


cdef inline PyObject *read_event(Word line, const char *readable, int place) except NULL:
    """Read a line without its number, a short one from memory if it is there. The caller owns what is returned.

    Args:
        place: ALONE or NUMBERED.
        readable: end of the memory that may be read, though what follows the line means nothing.
    """
    cdef Py_ssize_t past = LONGEST_KNOWN - line.length
    cdef uint64_t a, b, c
    cdef Known *known
    if past < 0 or readable - line.at < LONGEST_KNOWN:
        return owned(read_command(line, place))
    a, b, c = piece(line.at, past), piece(line.at + 8, past + 8), piece(line.at + 16, past + 16)
    known = place_of(a, b, c)
    if known.event is NULL or known.a != a or known.b != b or known.c != c:
        return learn(line, place, known, a, b, c)
    Py_XINCREF(known.event)
    return known.event


# Rule 3: the byte after a line is its LF or CR, and may be read; so a loop over digits needs no other bound.
# Both callers give lines with their LF still there.
cdef inline object read_line(const char *at, Py_ssize_t length, const char *readable):
    cdef Word line
    cdef PyObject *owned_event
    line.at = at
    line.length = length - 1 if length and at[length - 1] == c"\r" else length
    if line.length and at[0] == c"@":
        return read_numbered(line, readable)
    owned_event = read_event(line, readable, ALONE)
    event = <object> owned_event
    Py_XDECREF(owned_event)
    return event


@cython.final
cdef class Decoder:
    """Turn a peer's byte stream into lines; one Decoder per connection.

    A bad line comes back as Malformed and decoding goes on after its LF. The grammar is docs/protocol.md.

    Args:
        max_line: longest line kept, in bytes, LF included, 2 to 2^20. A longer one becomes one Malformed as
            soon as that many bytes of it came, and the rest of it is skipped.
    Raises:
        ValueError: max_line is out of range.
    """

    cdef Py_ssize_t max_line
    # Rule 2: between two feeds, either `skipping` and kept is 0, or the stream's last `kept` bytes are at
    # `buffer`, have no LF among them, and are fewer than max_line. So memory is bounded and no byte is
    # searched twice.
    cdef char *buffer           # max_line bytes and LONGEST_KNOWN, or NULL until a line comes in pieces
    cdef Py_ssize_t kept
    cdef bint skipping          # inside a line that was refused as too long

    def __cinit__(self, max_line=4096):
        self.max_line = integer(max_line, "max_line", 2, MOST_LINE)

    def __dealloc__(self):
        PyMem_Free(self.buffer)

    @property
    def pending(self):
        """Bytes kept of a line that has not ended; below max_line."""
        return self.kept

    cdef int keep(self, const char *at, Py_ssize_t length) except -1:
        """Put bytes aside. The caller sees to it that kept + length is at most max_line."""
        assert self.kept + length <= self.max_line
        if self.buffer is NULL:
            self.buffer = <char *> PyMem_Malloc(self.max_line + LONGEST_KNOWN)
            if self.buffer is NULL:
                raise MemoryError
        memcpy(self.buffer + self.kept, at, length)
        self.kept += length
        return 0

    cdef int go_on(self, const char *at, const char *end, bint ended, list lines) except -1:
        """Take a piece of a line that is too long, or comes in several.

        Args:
            end: where the piece ends: at the line's LF if it `ended`, else with the data.
        """
        cdef Py_ssize_t length = end - at
        cdef Word line
        if self.skipping:
            self.skipping = not ended
        elif self.kept + length >= self.max_line:
            self.keep(at, self.max_line - self.kept)
            line.at, line.length = self.buffer, self.kept
            self.kept, self.skipping = 0, not ended
            lines.append(refuse(LINE_TOO_LONG, line))
        elif ended:
            self.keep(at, length + 1)       # with its LF: rule 3
            length, self.kept = self.kept - 1, 0
            lines.append(read_line(self.buffer, length, self.buffer + self.max_line + LONGEST_KNOWN))
        else:
            self.keep(at, length)
        return 0

    def feed(self, bytes data not None):
        """Take the next bytes of the stream and return the lines that they complete.

        Args:
            data: any number of bytes; however the stream is cut, the lines are the same.
        Returns:
            The lines, in order; those that were refused as Malformed.
        Source: docs/protocol.md, sections "Lines" and "Refusals".
        """
        cdef const char *at = PyBytes_AS_STRING(data)       # `data` is held for as long as we are in here
        cdef const char *end = at + PyBytes_GET_SIZE(data)
        cdef const char *lf
        cdef list lines = []
        while at < end:
            lf = <const char *> memchr(at, c"\n", end - at)
            if lf is NULL:
                self.go_on(at, end, False, lines)
                break
            if self.kept or self.skipping or lf - at >= self.max_line:
                self.go_on(at, lf, True, lines)
            else:
                lines.append(read_line(at, lf - at, end))
            at = lf + 1
        return lines


# ---- From lines to bytes -----------------------------------------------------------------------------------

cdef str decimal(double value):
    """Write the shortest decimal that reads back the same, without exponent.

    Nearer to zero than 1e-13 the shortest may not fit the grammar's 32 characters; there it is rounded to 29
    places.
    """
    shortest = repr(value)
    if "e" in shortest:     # within the range, only what is nearer to zero than 1e-4
        shortest = format(Decimal(shortest), "f")
        if len(shortest) > MOST_DECIMAL:
            shortest = f"{value:.29f}"
    return shortest.removesuffix(".0")


cdef str text_of(object line, int version):
    if isinstance(line, Status):
        if (<Status> line).code == IS_AWAY and version == 2:
            return "status 2"
        return "status 1" if (<Status> line).code == IS_OPEN else "status 0"
    if isinstance(line, Temperature):
        return f"temperature {(<Temperature> line).sensor} {decimal((<Temperature> line).value)}"
    if isinstance(line, Enter):
        return f"enter {(<Enter> line).person}"
    if isinstance(line, Leave):
        return f"leave {(<Leave> line).person}"
    if isinstance(line, Message):
        return "message " + b2a_base64((<Message> line).text.encode(), newline=False).decode()
    if isinstance(line, Sound):
        return f"sound {(<Sound> line).number}"
    if isinstance(line, Hello):
        proof = (<Hello> line).proof
        return f"hello 2 {(<Hello> line).bridge}" + (f" {proof}" if proof is not None else "")
    if isinstance(line, Nonce):
        return f"nonce {(<Nonce> line).value}"
    if isinstance(line, Welcome):
        return f"welcome {(<Welcome> line).last}"
    if isinstance(line, Numbered):
        return f"@{(<Numbered> line).n} {(<Numbered> line).age_ms} {text_behind_number(line.line)}"
    if isinstance(line, Ack):
        return f"ack {(<Ack> line).n}"
    if isinstance(line, Nak):
        return f"nak {(<Nak> line).n} {(<Nak> line).reason}"
    if isinstance(line, Ping):
        return f"ping {(<Ping> line).token}"
    if isinstance(line, Pong):
        return f"pong {(<Pong> line).token}"
    raise TypeError(f"line is {line!r}, expected a line that can be sent")


cdef str text_behind_number(object event):
    if isinstance(event, Seen):
        return f"seen {(<Seen> event).digest}"
    if isinstance(event, Gone):
        return f"gone {(<Gone> event).digest}"
    return text_of(event, 2)


def encode(line, int version=1):
    """Write one line, with its LF.

    Args:
        line: any line but Malformed, which stands for what a peer sent.
        version: 2 for a bridge that was welcomed. Only "away" depends on it: 2 there, 0 elsewhere; behind a
            number always 2.
    Returns:
        At most 4096 bytes.
    Raises:
        TypeError: line is, or carries, something that cannot be sent; Seen and Gone can behind a number only.
        ValueError: another version.
    Source: docs/protocol.md, section "Lines".
    """
    if not 1 <= version <= 2:
        raise ValueError(f"version is {version}, expected 1 or 2")
    return f"{text_of(line, version)}\n".encode("ascii")
