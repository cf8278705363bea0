"""PNG files: without their version strings, and as thumbnails that can be compared.

nbval leaves pictures out of its comparison, and byte equality is too much to ask: fonts and anti-aliasing
differ between machines. A coarse grey thumbnail does not care about those, but does about what is drawn.
"""

import io
import struct

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_CHUNKS = {b"tEXt", b"iTXt", b"zTXt", b"tIME", b"eXIf"}
SIDE = 48  # pixels of a thumbnail
MEAN_TOLERANCE = 4.0  # grey levels of 255, averaged over the thumbnail
PATCH_TOLERANCE = 40.0  # grey levels of 255, averaged over any 6 x 6 patch: one panel of several, gone or changed


def strip_png(png: bytes) -> bytes:
    """The same pixels without text chunks (one has matplotlib's version). Raises ValueError if not a PNG."""
    if not png.startswith(SIGNATURE):
        raise ValueError("not a PNG file: it does not start with the PNG signature")
    kept, at = [SIGNATURE], len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        chunk = png[at : at + 12 + length]
        if chunk[4:8] not in TEXT_CHUNKS:
            kept.append(chunk)
        at += 12 + length
    return b"".join(kept)


def thumbnail(png: bytes) -> np.ndarray:
    """(SIDE, SIDE) grey levels 0..255 on a white ground."""
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    grey = Image.alpha_composite(ground, picture).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=float)


def difference(one: bytes, other: bytes) -> tuple[float, float]:
    """(mean, worst patch) grey-level difference of two PNGs' thumbnails."""
    gap = np.abs(thumbnail(one) - thumbnail(other))
    patches = gap.reshape(SIDE // 6, 6, SIDE // 6, 6).mean(axis=(1, 3))
    return float(gap.mean()), float(patches.max())


def same_picture(one: bytes, other: bytes) -> str | None:
    """None if the pictures agree within tolerance, else one line that says by how much they do not."""
    shapes = [Image.open(io.BytesIO(png)).size for png in (one, other)]
    if any(abs(a - b) > 0.05 * max(a, b) for a, b in zip(*shapes, strict=True)):
        return f"sizes {shapes[0]} and {shapes[1]} differ by more than 5 %"
    mean, patch = difference(one, other)
    if mean > MEAN_TOLERANCE or patch > PATCH_TOLERANCE:
        return (
            f"mean grey-level difference {mean:.1f} (allowed {MEAN_TOLERANCE}), "
            f"worst patch {patch:.1f} (allowed {PATCH_TOLERANCE})"
        )
    return None
