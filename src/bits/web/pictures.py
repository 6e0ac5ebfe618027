"""Pictures that members send: what they are is what can be read of them, not what they are called."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageOps

from bits.wiki import FILE_BYTES, WikiError

KINDS = {"PNG": "png", "JPEG": "jpg", "GIF": "gif", "WEBP": "webp"}
TYPES = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}

# All frames together: two megabytes of a file can unpack to gigabytes. A telephone's photograph has half of that.
PIXELS = 24_000_000

# One at a time is unpacked: some hundred megabytes.
_unpacking = asyncio.Semaphore(1)


@dataclass(frozen=True, slots=True)
class Picture:
    digest: str
    kind: str
    data: bytes


def read_picture(data: bytes) -> Picture:
    """Read a picture to its last pixel, and forget where and with what it was taken.

    Raises:
        WikiError: no-file, too-large, no-picture, too-many-pixels.
    """
    if not data:
        raise WikiError("no-file")
    if len(data) > FILE_BYTES:
        raise WikiError("too-large")
    try:
        with Image.open(BytesIO(data), formats=tuple(KINDS)) as image:
            kind = KINDS[image.format or ""]
            frames = 0
            while True:
                frames += 1
                if image.width * image.height * frames > PIXELS:
                    raise WikiError("too-many-pixels")
                image.load()
                try:
                    image.seek(frames)
                except EOFError:
                    break
            if frames == 1 and (image.getexif() or "xmp" in image.info or "XML:com.adobe.xmp" in image.info):
                data = _without_metadata(image, kind)
    except WikiError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise WikiError("too-many-pixels") from None
    except Exception:  # whatever the decoders raise at: it is none that they can read
        raise WikiError("no-picture") from None
    if len(data) > FILE_BYTES:
        raise WikiError("too-large")
    return Picture(hashlib.sha256(data).hexdigest(), kind, data)


def _without_metadata(image: Image.Image, kind: str) -> bytes:
    """Write a picture anew, upright, with its colours but without a word about its origin."""
    upright = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    bare = Image.new(upright.mode, upright.size)
    if palette := upright.getpalette():
        bare.putpalette(palette)
    bare.paste(upright)
    out = BytesIO()
    transparency = {"transparency": image.info["transparency"]} if "transparency" in image.info else {}
    bare.save(
        out,
        {"jpg": "JPEG", "webp": "WEBP", "png": "PNG", "gif": "GIF"}[kind],
        quality=90,
        icc_profile=profile,
        **transparency,
    )
    return out.getvalue()


async def take(data: bytes) -> Picture:
    """Read a picture while everything else goes on. Raises: WikiError."""
    async with _unpacking:
        return await asyncio.to_thread(read_picture, data)
