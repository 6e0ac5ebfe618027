"""RFC 6455 frames, server side, sans I/O: bytes from a client in, what to do about them out.

Clients of a presence server have nothing to say, so data is checked and thrown away; what matters is that
any split of the stream is understood alike, that memory stays bounded, and that every breach of the protocol
ends the connection with the code the standard names for it.
"""

from libc.string cimport memcpy, memset

# The longest message taken from a client. Nothing we know sends one at all; 4 kB leaves room for a
# chatty library's hello and keeps a hostile client's cost at one small read.
cdef enum:
    MAX_MESSAGE = 4096

MAX_MESSAGE_BYTES = MAX_MESSAGE

cdef enum:
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

cdef enum:
    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    NO_CODE = 1005
    BAD_DATA = 1007
    TOO_BIG = 1009


cdef void reset(Reader *reader) noexcept nogil:
    """Start at the first byte of a connection."""
    memset(reader, 0, sizeof(Reader))


cdef bint is_idle(const Reader *reader) noexcept nogil:
    """Tell whether nothing is under way, so that the reader may be freed and begun anew."""
    return reader.header_length == 0 and reader.message_opcode == 0


cdef int broken(Reader *reader, uint16_t code) noexcept nogil:
    reader.close_code = code
    return BROKEN


cdef bint utf8_accepts(Reader *reader, uint8_t byte) noexcept nogil:
    """Step the UTF-8 checker (RFC 3629 section 4: no surrogates, no overlong forms, nothing past U+10FFFF)."""
    if reader.utf8_need:
        if not reader.utf8_low <= byte <= reader.utf8_high:
            return False
        reader.utf8_need -= 1
    elif byte < 0x80:
        return True
    elif 0xC2 <= byte <= 0xDF:
        reader.utf8_need = 1
    elif 0xE0 <= byte <= 0xEF:
        reader.utf8_need = 2
    elif 0xF0 <= byte <= 0xF4:
        reader.utf8_need = 3
    else:
        return False
    # Only the byte after the first is restricted, and only after these four.
    reader.utf8_low = 0xA0 if byte == 0xE0 else 0x90 if byte == 0xF0 else 0x80
    reader.utf8_high = 0x9F if byte == 0xED else 0x8F if byte == 0xF4 else 0xBF
    return True


cdef size_t header_size(const Reader *reader) noexcept nogil:
    """Return how many header bytes this frame has, as far as its first two bytes tell."""
    if reader.header_length < 2:
        return 2
    cdef uint8_t length = reader.header[1] & 0x7F
    return 2 + (2 if length == 126 else 8 if length == 127 else 0) + 4


cdef int begin_frame(Reader *reader) noexcept nogil:
    """Judge a complete header. Returns NEED_MORE or BROKEN."""
    cdef uint8_t opcode = reader.header[0] & 0x0F
    cdef bint final = reader.header[0] & 0x80
    cdef uint64_t length = reader.header[1] & 0x7F
    cdef int i
    if length == 126:
        length = (<uint64_t> reader.header[2] << 8) | reader.header[3]
        if length < 126:
            return broken(reader, PROTOCOL_ERROR)  # section 5.2: the shortest form is the only one
    elif length == 127:
        length = 0
        for i in range(8):
            length = (length << 8) | reader.header[2 + i]
        if length < 65536 or length >> 63:
            return broken(reader, PROTOCOL_ERROR)
    if opcode >= CLOSE:
        if opcode > PONG or not final or length > 125:
            return broken(reader, PROTOCOL_ERROR)
        reader.control_length = 0
    else:
        if opcode > BINARY or (opcode == CONTINUATION) != (reader.message_opcode != 0):
            return broken(reader, PROTOCOL_ERROR)
        if length > MAX_MESSAGE - reader.message_length:
            return broken(reader, TOO_BIG)
        if opcode != CONTINUATION:
            reader.message_opcode = opcode
        reader.message_length += <uint32_t> length
    reader.left = <uint32_t> length
    reader.mask_phase = 0
    reader.in_payload = True
    return NEED_MORE


cdef int judge_close(Reader *reader) noexcept nogil:
    """Check a close frame's payload (section 7.4) and choose the code to answer with."""
    cdef Reader text
    cdef uint16_t code
    cdef int i
    if reader.control_length == 0:
        reader.close_code = NORMAL
        return GOT_CLOSE
    if reader.control_length == 1:
        return broken(reader, PROTOCOL_ERROR)
    code = (<uint16_t> reader.control[0] << 8) | reader.control[1]
    if not (3000 <= code <= 4999 or 1000 <= code <= 1003 or 1007 <= code <= 1014):
        return broken(reader, PROTOCOL_ERROR)
    text.utf8_need = 0
    for i in range(2, reader.control_length):
        if not utf8_accepts(&text, reader.control[i]):
            return broken(reader, BAD_DATA)
    if text.utf8_need:
        return broken(reader, BAD_DATA)
    reader.close_code = code
    return GOT_CLOSE


cdef int end_frame(Reader *reader) noexcept nogil:
    """Close the books on a complete frame."""
    cdef uint8_t opcode = reader.header[0] & 0x0F
    cdef bint final = reader.header[0] & 0x80
    reader.header_length = 0
    reader.in_payload = False
    if opcode == PING:
        return GOT_PING
    if opcode == CLOSE:
        return judge_close(reader)
    if opcode != PONG and final:
        if reader.utf8_need:
            return broken(reader, BAD_DATA)
        reader.message_opcode = 0
        reader.message_length = 0
    return NEED_MORE


cdef int feed(Reader *reader, const uint8_t **cursor, const uint8_t *end) noexcept nogil:
    """Take bytes from cursor up to end; stop early, with the cursor moved on, at something to answer.

    Call again with the rest until it says NEED_MORE. After BROKEN or GOT_CLOSE nothing more may be fed.
    """
    cdef const uint8_t *at = cursor[0]
    cdef size_t mask_at
    cdef uint8_t byte
    cdef int seen = NEED_MORE
    while at < end or (reader.in_payload and reader.left == 0):
        if not reader.in_payload:
            reader.header[reader.header_length] = at[0]
            reader.header_length += 1
            at += 1
            if reader.header_length == 1 and reader.header[0] & 0x70:
                seen = broken(reader, PROTOCOL_ERROR)  # reserved bits: no extension was agreed
            elif reader.header_length == 2 and not reader.header[1] & 0x80:
                seen = broken(reader, PROTOCOL_ERROR)  # section 5.1: a client must mask
            elif reader.header_length == header_size(reader):
                seen = begin_frame(reader)
        else:
            mask_at = header_size(reader) - 4
            while reader.left and at < end:
                byte = at[0] ^ reader.header[mask_at + reader.mask_phase]
                reader.mask_phase = (reader.mask_phase + 1) & 3
                reader.left -= 1
                at += 1
                if reader.header[0] & 0x08:
                    reader.control[reader.control_length] = byte  # at most 125: begin_frame saw to it
                    reader.control_length += 1
                elif reader.message_opcode == TEXT and not utf8_accepts(reader, byte):
                    cursor[0] = at
                    return broken(reader, BAD_DATA)
            if reader.left == 0:
                seen = end_frame(reader)
        if seen != NEED_MORE:
            break
    cursor[0] = at
    return seen


cdef size_t write_header(uint8_t *out, uint8_t opcode, uint64_t length) noexcept nogil:
    """Write an unmasked, final frame's header. out has room for 10 bytes. Returns the bytes written."""
    cdef int i
    out[0] = 0x80 | opcode
    if length < 126:
        out[1] = <uint8_t> length
        return 2
    if length < 65536:
        out[1] = 126
        out[2] = <uint8_t> (length >> 8)
        out[3] = <uint8_t> length
        return 4
    out[1] = 127
    for i in range(8):
        out[2 + i] = <uint8_t> (length >> (56 - 8 * i))
    return 10


def text_frame(bytes payload not None):
    """Return one finished text frame around a payload of UTF-8."""
    cdef uint8_t header[10]
    cdef size_t size = write_header(header, TEXT, len(payload))
    return (<char *> header)[:size] + payload


def close_frame(int code):
    """Return a finished close frame with a code and no reason."""
    if not 1000 <= code <= 4999:
        raise ValueError(f"close code {code}: expected 1000 to 4999")
    cdef uint8_t frame[4]
    write_header(frame, CLOSE, 2)
    frame[2] = <uint8_t> (code >> 8)
    frame[3] = <uint8_t> code
    return (<char *> frame)[:4]


def read(list chunks not None):
    """Read a client's stream, given as chunks of bytes; for tests and tools, the hub calls feed itself.

    Returns:
        What had to be answered, in order: ("ping", payload), and last perhaps ("close", code) or
        ("broken", code), after which the rest is not looked at.
    """
    cdef Reader reader
    cdef const uint8_t *cursor
    cdef const uint8_t *end
    cdef bytes chunk
    cdef int seen
    answers = []
    reset(&reader)
    for chunk in chunks:
        cursor = chunk
        end = cursor + len(chunk)
        while True:
            seen = feed(&reader, &cursor, end)
            if seen == GOT_PING:
                answers.append(("ping", (<char *> reader.control)[:reader.control_length]))
            elif seen == GOT_CLOSE:
                return [*answers, ("close", reader.close_code)]
            elif seen == BROKEN:
                return [*answers, ("broken", reader.close_code)]
            else:
                break
    return answers
