"""Request heads of HTTP/1.1, judged sans I/O: plainly ours, somebody else's, or nobody's.

The front door answers only what it understands completely; all else goes to the full server behind it, as it came.
What two servers could read in two ways (request smuggling: RFC 9112 section 11.2) goes to nobody.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memset

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *one, const char *two, size_t size)

cdef enum Reason:
    LINE_END = 0
    CONTROL = 1
    REQUEST_LINE = 2
    VERSION = 3
    TARGET = 4
    HEADER_NAME = 5
    FOLDED = 6
    HOST = 7
    LENGTH = 8
    CODING = 9
    BOTH = 10

REASONS = (
    "bare-line-end",
    "control-character",
    "request-line",
    "version",
    "target",
    "header-name",
    "folded-header",
    "host",
    "content-length",
    "transfer-encoding",
    "length-and-encoding",
)

cdef struct Slice:
    const char *at
    size_t length

cdef enum Seen:             # headers, as bits
    HAS_HOST = 1
    HAS_LENGTH = 2
    HAS_CODING = 4
    HAS_UPGRADE = 8
    HAS_CONNECTION = 16
    HAS_VERSION_13 = 32
    HAS_KEY = 64
    HAS_LAST_ID = 128
    HAS_ENCODING = 256
    HAS_MATCH = 512
    WANTS_UPGRADE = 1024    # Connection names it


cdef inline bint is_token_byte(uint8_t byte) noexcept nogil:
    """Tell whether a byte may stand in a method or a header's name (RFC 9110 section 5.6.2)."""
    if c"a" <= byte <= c"z" or c"A" <= byte <= c"Z" or c"0" <= byte <= c"9":
        return True
    return byte != 0 and memchr(b"!#$%&'*+-.^_`|~", byte, 15) != NULL


cdef inline bint equals(Slice slice, const char *word, size_t length) noexcept nogil:
    return slice.length == length and memcmp(slice.at, word, length) == 0


cdef inline bint means(Slice slice, const char *word, size_t length) noexcept nogil:
    """Compare without regard to case."""
    return slice.length == length and strncasecmp(slice.at, word, length) == 0


cdef Slice trimmed(const char *at, const char *end) noexcept nogil:
    cdef Slice slice
    while at < end and (at[0] == c" " or at[0] == c"\t"):
        at += 1
    while at < end and (end[-1] == c" " or end[-1] == c"\t"):
        end -= 1
    slice.at = at
    slice.length = end - at
    return slice


cdef Slice next_item(Slice *rest, char separator) noexcept nogil:
    """Cut the first item off a list; rest.at becomes NULL behind the last."""
    cdef const char *end = rest.at + rest.length
    cdef const char *found = <const char *> memchr(rest.at, separator, rest.length)
    cdef Slice item = trimmed(rest.at, found if found != NULL else end)
    if found == NULL:
        rest.at = NULL
        rest.length = 0
    else:
        rest.at = found + 1
        rest.length = end - found - 1
    return item


cdef int bad(Head *head, int reason) noexcept nogil:
    head.reason = reason
    return HEAD_BAD


# --- the query of a plain request

cdef bint read_number(Slice digits, int64_t *number) noexcept nogil:
    """Read at most 18 decimal digits, which cannot overflow."""
    cdef size_t i
    if not 1 <= digits.length <= 18:
        return False
    number[0] = 0
    for i in range(digits.length):
        if not c"0" <= digits.at[i] <= c"9":
            return False
        number[0] = number[0] * 10 + (digits.at[i] - c"0")
    return True


cdef bint read_seconds(Slice text, double *seconds) noexcept nogil:
    """Read up to 9 digits, and perhaps a point and up to 9 more."""
    cdef Slice rest = text
    cdef int64_t whole = 0, part = 0
    cdef double scale = 1
    cdef size_t i
    cdef const char *point = <const char *> memchr(text.at, c".", text.length)
    if point != NULL:
        rest.at = point + 1
        rest.length = text.at + text.length - rest.at
        text.length = point - text.at
        if rest.length > 9 or not read_number(rest, &part):
            return False
        for i in range(rest.length):
            scale *= 10
    if text.length > 9 or not read_number(text, &whole):
        return False
    seconds[0] = whole + part / scale
    return True


cdef bint read_query(Slice query, Head *head) noexcept nogil:
    """Read the parameters that the plain routes know, each at most once. Returns False at anything else."""
    cdef Slice parameter, value
    cdef const char *equals_sign
    cdef bint has_form = False
    while query.at != NULL:
        parameter = next_item(&query, c"&")
        equals_sign = <const char *> memchr(parameter.at, c"=", parameter.length)
        if equals_sign == NULL:
            return False
        value.at = equals_sign + 1
        value.length = parameter.at + parameter.length - value.at
        parameter.length = equals_sign - parameter.at
        if equals(parameter, b"timestamps", 10) and not has_form:
            has_form = True
            head.iso = equals(value, b"iso", 3)
            if not head.iso and not equals(value, b"ms", 2):
                return False
        elif equals(parameter, b"since", 5) and head.since < 0:
            if not read_number(value, &head.since):
                return False
        elif equals(parameter, b"wait", 4) and head.wait < 0 and head.route == ROUTE_DATA:
            if not read_seconds(value, &head.wait) or head.wait > 300:
                return False
        elif equals(parameter, b"stale", 5) and head.stale < 0 and head.route == ROUTE_DATA:
            if not equals(value, b"0", 1) and not equals(value, b"1", 1):
                return False
            head.stale = value.at[0] == c"1"
        else:
            return False
    return True


cdef bint read_target(Slice target, Head *head) noexcept nogil:
    """Tell whether a target is plainly one of ours."""
    cdef Slice path = target
    cdef Slice query
    cdef const char *mark = <const char *> memchr(target.at, c"?", target.length)
    query.at = NULL
    query.length = 0
    if mark != NULL:
        path.length = mark - target.at
        query.at = mark + 1
        query.length = target.length - path.length - 1
    if equals(path, b"/status", 7):
        head.route = ROUTE_STATUS
        return mark == NULL
    if equals(path, b"/data", 5):
        head.route = ROUTE_DATA
    elif equals(path, b"/ws", 3):
        head.route = ROUTE_WS
    elif equals(path, b"/events", 7):
        head.route = ROUTE_EVENTS
    else:
        return False
    if not read_query(query, head):
        return False
    return head.route != ROUTE_DATA or ((head.wait >= 0) == (head.since >= 0) and (head.wait >= 0 or head.stale < 0))


# --- headers

cdef bint allows_gzip(Slice value) noexcept nogil:
    """Read an Accept-Encoding as the pages do: the first coding that could be gzip decides."""
    cdef Slice part, coding, quality
    cdef size_t i
    while value.at != NULL:
        part = next_item(&value, c",")
        coding = next_item(&part, c";")
        if not (means(coding, b"gzip", 4) or means(coding, b"x-gzip", 6) or equals(coding, b"*", 1)):
            continue
        if part.at == NULL:
            return True
        quality = trimmed(part.at, part.at + part.length)
        if quality.length < 3 or strncasecmp(quality.at, b"q=", 2) != 0:
            return True
        for i in range(2, quality.length):
            if quality.at[i] != c"0" and quality.at[i] != c".":
                return True
        return False
    return False


cdef bint read_connection(Slice value, Head *head, uint32_t *has) noexcept nogil:
    """Read a Connection list. Returns False where it names anything but what we know."""
    cdef Slice item
    while value.at != NULL:
        item = next_item(&value, c",")
        if means(item, b"close", 5):
            head.close = True
        elif means(item, b"upgrade", 7):
            has[0] |= WANTS_UPGRADE
        elif not means(item, b"keep-alive", 10):
            return False
    return True


cdef bint is_key(Slice value) noexcept nogil:
    """Tell whether this is the base64 of 16 bytes, in its one right form."""
    cdef int i
    cdef uint8_t byte
    if value.length != 24 or value.at[22] != c"=" or value.at[23] != c"=":
        return False
    for i in range(22):
        byte = value.at[i]
        if not (
            c"a" <= byte <= c"z" or c"A" <= byte <= c"Z" or c"0" <= byte <= c"9" or byte == c"+" or byte == c"/"
        ):
            return False
    return memchr(b"AQgw", value.at[21], 4) != NULL  # the last character has two bits to carry


cdef bint once(uint32_t *has, uint32_t bit) noexcept nogil:
    if has[0] & bit:
        return False
    has[0] |= bit
    return True


cdef int read_header(Slice name, Slice value, Head *head, uint32_t *has) noexcept nogil:
    """Read one header. Returns HEAD_FAST where it is plain, HEAD_OTHER where it is not, or HEAD_BAD."""
    cdef int64_t number
    # By length first: most headers are none of ours.
    if name.length == 4 and means(name, b"host", 4):
        if not once(has, HAS_HOST) or value.length == 0 or memchr(value.at, c",", value.length) != NULL:
            return bad(head, HOST)
        if memchr(value.at, c" ", value.length) != NULL or memchr(value.at, c"/", value.length) != NULL:
            return bad(head, HOST)
    elif name.length == 10 and means(name, b"connection", 10):
        if not once(has, HAS_CONNECTION) or not read_connection(value, head, has):
            return HEAD_OTHER
    elif name.length == 13 and means(name, b"if-none-match", 13):
        if not once(has, HAS_MATCH) or memchr(value.at, c"*", value.length) != NULL:
            return HEAD_OTHER
        head.if_none_match = value.at
        head.if_none_match_length = value.length
    elif name.length == 15 and means(name, b"accept-encoding", 15):
        if not once(has, HAS_ENCODING):
            return HEAD_OTHER
        head.gzip = allows_gzip(value)
    elif name.length == 14 and means(name, b"content-length", 14):
        if not once(has, HAS_LENGTH) or not read_number(value, &number):
            return bad(head, LENGTH)
        return HEAD_OTHER
    elif name.length == 17 and means(name, b"transfer-encoding", 17):
        if not once(has, HAS_CODING) or not means(value, b"chunked", 7):
            return bad(head, CODING)
        return HEAD_OTHER
    elif name.length == 7 and means(name, b"upgrade", 7):
        if not once(has, HAS_UPGRADE) or not means(value, b"websocket", 9) or head.route != ROUTE_WS:
            return HEAD_OTHER
    elif name.length == 21 and means(name, b"sec-websocket-version", 21):
        if not once(has, HAS_VERSION_13) or not equals(value, b"13", 2):
            return HEAD_OTHER
    elif name.length == 17 and means(name, b"sec-websocket-key", 17):
        if not once(has, HAS_KEY) or not is_key(value):
            return HEAD_OTHER
        head.key = value.at
    elif name.length == 13 and means(name, b"last-event-id", 13):
        if head.route != ROUTE_EVENTS:
            return HEAD_FAST
        if not once(has, HAS_LAST_ID) or not read_number(value, &head.since):
            return HEAD_OTHER  # it is newer than the parameter, and wins
    elif (
        means(name, b"expect", 6) or means(name, b"te", 2) or means(name, b"trailer", 7) or means(name, b"range", 5)
        or means(name, b"http2-settings", 14) or means(name, b"if-match", 8) or means(name, b"if-range", 8)
        or means(name, b"if-modified-since", 17) or means(name, b"if-unmodified-since", 19)
    ):
        return HEAD_OTHER
    return HEAD_FAST


# --- the head

cdef int read_request_line(Slice line, Head *head, bint *old) noexcept nogil:
    """Judge METHOD SP target SP HTTP/1.x."""
    cdef const char *end = line.at + line.length
    cdef const char *space = <const char *> memchr(line.at, c" ", line.length)
    cdef Slice method, target, version
    cdef size_t i
    if space == NULL or space == line.at:
        return bad(head, REQUEST_LINE)
    method.at = line.at
    method.length = space - line.at
    for i in range(method.length):
        if not is_token_byte(method.at[i]):
            return bad(head, REQUEST_LINE)
    target.at = space + 1
    space = <const char *> memchr(target.at, c" ", end - target.at)
    if space == NULL:
        return bad(head, REQUEST_LINE)
    target.length = space - target.at
    version.at = space + 1
    version.length = end - version.at
    if memchr(version.at, c" ", version.length) != NULL:
        return bad(head, REQUEST_LINE)
    old[0] = equals(version, b"HTTP/1.0", 8)
    if not old[0] and not equals(version, b"HTTP/1.1", 8):
        return bad(head, VERSION)
    if target.length == 0:
        return bad(head, TARGET)
    if target.at[0] != c"/" and not equals(target, b"*", 1) and not (
        target.length > 8
        and (strncasecmp(target.at, b"http://", 7) == 0 or strncasecmp(target.at, b"https://", 8) == 0)
    ):
        return bad(head, TARGET)
    if old[0] or not read_target(target, head):
        return HEAD_OTHER
    if equals(method, b"HEAD", 4) and head.route <= ROUTE_DATA and head.wait < 0:
        head.is_head = True
        return HEAD_FAST
    return HEAD_FAST if equals(method, b"GET", 3) else HEAD_OTHER


cdef int judge(const char *at, const char *end, Head *head) noexcept nogil:
    """Judge a complete head: its lines, without the blank one."""
    cdef const char *line_end
    cdef const char *colon
    cdef const char *byte
    cdef Slice line, name
    cdef int count = 0, one, verdict
    cdef bint old = False
    cdef uint32_t has = 0
    byte = at
    while byte < end:
        if <uint8_t> byte[0] < 0x20 or byte[0] == 0x7F:
            if byte[0] == c"\r" and byte[1] == c"\n":
                byte += 2
                continue
            if byte[0] == c"\r" or byte[0] == c"\n":
                return bad(head, LINE_END)
            if byte[0] != c"\t":
                return bad(head, CONTROL)
        byte += 1
    line_end = <const char *> memchr(at, c"\r", end - at)
    line.at = at
    line.length = line_end - at
    if memchr(at, c"\t", line.length) != NULL:
        return bad(head, REQUEST_LINE)
    verdict = read_request_line(line, head, &old)
    if verdict == HEAD_BAD:
        return HEAD_BAD
    at = line_end + 2
    while at < end:
        line_end = <const char *> memchr(at, c"\r", end - at)
        if at[0] == c" " or at[0] == c"\t":
            return bad(head, FOLDED)
        colon = <const char *> memchr(at, c":", line_end - at)
        if colon == NULL or colon == at:
            return bad(head, HEADER_NAME)
        byte = at
        while byte < colon:
            if not is_token_byte(byte[0]):
                return bad(head, HEADER_NAME)
            byte += 1
        name.at = at
        name.length = colon - at
        one = read_header(name, trimmed(colon + 1, line_end), head, &has)
        if one == HEAD_BAD:
            return HEAD_BAD
        count += 1
        if one == HEAD_OTHER or count > MOST_HEADERS:
            verdict = HEAD_OTHER
        at = line_end + 2
    if not old and not has & HAS_HOST:
        return bad(head, HOST)
    if has & HAS_CODING and old:
        return bad(head, CODING)
    if has & HAS_CODING and has & HAS_LENGTH:
        return bad(head, BOTH)
    if verdict == HEAD_OTHER:
        return HEAD_OTHER
    if head.route == ROUTE_WS:
        one = HAS_UPGRADE | WANTS_UPGRADE | HAS_VERSION_13 | HAS_KEY
        return HEAD_FAST if has & one == one and not head.close else HEAD_OTHER
    return HEAD_OTHER if has & WANTS_UPGRADE else HEAD_FAST


cdef const char *find_end(const char *at, const char *end) noexcept nogil:
    """Return where the first LF stands behind which the head ends (LF LF or LF CR LF), or NULL."""
    cdef const char *lf
    while at < end:
        lf = <const char *> memchr(at, c"\n", end - at)
        if lf == NULL:
            return NULL
        if lf + 1 < end and lf[1] == c"\n":
            return lf
        if lf + 2 < end and lf[1] == c"\r" and lf[2] == c"\n":
            return lf
        at = lf + 1
    return NULL


cdef int read_head(const char *at, size_t length, size_t *seen, Head *head) noexcept nogil:
    """Judge the request head at the start of some bytes.

    Args:
        seen: in and out, 0 for a new request: how many bytes were searched already for the end of the head.
    Returns:
        A Verdict. Of garbage it is known at once that it is garbage; of a request only when its head is complete.
    """
    cdef const char *begin = at
    cdef const char *end = at + length
    cdef const char *found
    cdef size_t back
    memset(head, 0, sizeof(Head))
    head.since = -1
    head.wait = -1
    head.stale = -1
    if length >= 2 and at[0] == c"\r" and at[1] == c"\n":
        at += 2  # one empty line is forgiven: RFC 9112 section 2.2
    elif length == 1 and at[0] == c"\r":
        return HEAD_MORE
    if at == end:
        return HEAD_MORE
    if not is_token_byte(at[0]):
        return bad(head, REQUEST_LINE)
    back = seen[0] if seen[0] > 2 else 2
    found = find_end(max(at, begin + back - 2), end)
    if found == NULL:
        seen[0] = length
        if length >= MOST_HEAD:
            return HEAD_LONG
        if length > MOST_REQUEST_LINE and memchr(at, c"\n", MOST_REQUEST_LINE) == NULL:
            return HEAD_LONG
        return HEAD_MORE
    if found[1] == c"\n":
        return bad(head, LINE_END)
    head.size = found + 3 - begin
    if head.size > MOST_HEAD:
        return HEAD_LONG
    if found == at or found[-1] != c"\r":
        return bad(head, LINE_END)
    if memchr(at, c"\n", min(<size_t> (end - at), <size_t> MOST_REQUEST_LINE)) == NULL:
        return HEAD_LONG
    return judge(at, found + 1, head)


ROUTES = ("/status", "/data", "/ws", "/events")     # by Route
VERDICTS = ("more", "fast", "other", "bad", "long")


def read(bytes data not None, size_t seen=0):
    """Judge a request head; for tests and tools, the door calls read_head itself.

    Returns:
        (verdict, seen, what is known): one of VERDICTS; how far was searched; of "fast" the fields of the head, of
        "bad" the reason, of others nothing.
    """
    cdef Head head
    cdef int verdict = read_head(data, len(data), &seen, &head)
    known = {}
    if verdict == HEAD_BAD:
        known = {"reason": REASONS[head.reason]}
    elif verdict == HEAD_OTHER:
        known = {"size": head.size}
    elif verdict == HEAD_FAST:
        known = {
            "size": head.size,
            "route": ROUTES[head.route],
            "is_head": bool(head.is_head),
            "close": bool(head.close),
            "iso": bool(head.iso),
            "gzip": bool(head.gzip),
            "since": head.since if head.since >= 0 else None,
            "wait": head.wait if head.wait >= 0 else None,
            "stale": bool(head.stale) if head.stale >= 0 else None,
            "if_none_match": head.if_none_match[: head.if_none_match_length] if head.if_none_match != NULL else None,
            "key": head.key[:24] if head.key != NULL else None,
        }
    return VERDICTS[verdict], seen, known
