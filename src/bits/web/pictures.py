"""Pictures that members send: what they are is what can be read of them, not what they are called."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from bits.wiki import FILE_BYTES, WikiError

FORMATS = "PNG", "JPEG", "GIF", "WEBP"
KINDS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "GIF": "gif", "WEBP": "webp"}  # MPO: JPEG with more behind it
TYPES = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}

# All frames together: two megabytes of a file can unpack to gigabytes. A telephone's photograph has half of that.
PIXELS = 24_000_000

# All that is left of a file; everything else can tell more than is to be seen.
PNG_CHUNKS = set(b"IHDR PLTE tRNS gAMA cHRM sRGB iCCP sBIT bKGD IDAT acTL fcTL fdAT IEND".split())
WEBP_CHUNKS = {b"VP8X", b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"}
WEBP_METADATA = 0x0C  # the flags of EXIF and XMP
GIF_LOOPS = b"\x0bNETSCAPE2.0", b"\x0bANIMEXTS1.0"
GIF_CONTROL, GIF_LOOP = 8, 19  # bytes: there is no room for more in them
ORIENTATION = 0x0112

# One at a time is unpacked: some hundred megabytes.
_unpacking = asyncio.Semaphore(1)


@dataclass(frozen=True, slots=True)
class Picture:
    digest: str
    kind: str
    data: bytes


def read_picture(data: bytes, *, bare: bool = True) -> Picture:
    """Read a picture to its last pixel, and forget where and with what it was taken.

    Args:
        bare: leave only what it looks like; else it stays as it is.
    Raises:
        WikiError: no-file, too-large, no-picture, too-many-pixels.
    """
    if not data:
        raise WikiError("no-file")
    if len(data) > FILE_BYTES:
        raise WikiError("too-large")
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            kind = KINDS[image.format or ""]
            frames = 0
            while True:
                frames += 1
                if image.width * image.height * frames > PIXELS:
                    raise WikiError("too-many-pixels")
                image.load()
                if kind == "jpg":  # what telephones put behind the first picture is none to be shown
                    break
                try:
                    image.seek(frames)
                except EOFError:
                    break
            if bare:
                if frames == 1:
                    data = _anew(image, kind, data)
                data = BLOCKS.get(kind, bytes)(data)
    except WikiError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise WikiError("too-many-pixels") from None
    except Exception:  # whatever the decoders raise at: it is none that they can read
        raise WikiError("no-picture") from None
    if len(data) > FILE_BYTES:
        raise WikiError("too-large")
    return Picture(hashlib.sha256(data).hexdigest(), kind, data)


def _anew(image: Image.Image, kind: str, data: bytes) -> bytes:
    """Write a still picture anew from its pixels, upright and in its colours.

    GIF and WebP pictures that are upright stay as they are: these would lose by it.
    """
    if kind == "gif" or (kind == "webp" and image.getexif().get(ORIENTATION, 1) == 1):
        return data
    options: dict[str, Any] = {"icc_profile": image.info.get("icc_profile")}
    if isinstance(image, JpegImageFile):
        # As coarse as it was: neither worse nor larger.
        options |= {"qtables": image.quantization, "subsampling": get_sampling(image), "optimize": True}
        options |= {"progressive": bool(image.info.get("progressive"))}
    elif kind == "webp":
        options |= {"lossless": b"VP8L" in data, "quality": 90}
    elif "transparency" in image.info:
        options["transparency"] = image.info["transparency"]
    upright = ImageOps.exif_transpose(image)
    upright.info = {}
    out = BytesIO()
    upright.save(out, {"jpg": "JPEG", "webp": "WEBP", "png": "PNG"}[kind], **options)
    return out.getvalue()


def _png(data: bytes) -> bytes:
    """Keep the chunks that a picture is made of."""
    kept, at = bytearray(data[:8]), 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        if name in PNG_CHUNKS:
            kept += data[at:end]
        if name == b"IEND":
            break
        at = end
    return bytes(kept)


def _webp(data: bytes) -> bytes:
    """Keep the chunks that a picture is made of, and their announcement of no others."""
    kept = _webp_chunks(data[12 : 8 + int.from_bytes(data[4:8], "little")])
    return b"RIFF" + (4 + len(kept)).to_bytes(4, "little") + b"WEBP" + kept


def _webp_chunks(data: bytes) -> bytes:
    kept, at = bytearray(), 0
    while at < len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        content = data[at + 8 : at + 8 + size]
        if name == b"VP8X":
            content = bytes([content[0] & ~WEBP_METADATA]) + content[1:]
        elif name == b"ANMF":
            content = content[:16] + _webp_chunks(content[16:])
        if name in WEBP_CHUNKS:
            kept += name + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)
        at += 8 + size + size % 2
    return bytes(kept)


def _gif(data: bytes) -> bytes:
    """Keep the blocks that a picture is made of, up to the end that it names."""
    at = 13 + _colours(data[10])
    kept = bytearray(data[:at])
    while at < len(data) and data[at : at + 1] != b";":
        begin = at
        if data[at : at + 1] == b",":
            at += 11 + _colours(data[at + 9])
        elif data[at : at + 1] == b"!":
            at += 2
        else:
            at += 1  # as everybody reads it
            continue
        while data[at]:
            at += 1 + data[at]
        at += 1
        block = data[begin:at]
        is_control = len(block) == GIF_CONTROL and block[1] == 0xF9
        if block[:1] == b"," or is_control or (len(block) == GIF_LOOP and block[2:14] in GIF_LOOPS):
            kept += block
    return bytes(kept) + b";"


def _colours(flags: int) -> int:
    """Return the bytes of a table of colours."""
    return 6 << (flags & 7) if flags & 0x80 else 0


BLOCKS: dict[str, Callable[[bytes], bytes]] = {"png": _png, "webp": _webp, "gif": _gif}


async def take(data: bytes) -> Picture:
    """Read a picture while everything else goes on. Raises: WikiError."""
    async with _unpacking:
        return await asyncio.to_thread(read_picture, data)
