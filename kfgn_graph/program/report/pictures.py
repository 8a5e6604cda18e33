"""Greyscale images as PNG in data URIs."""

from __future__ import annotations

import base64
import math
import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def side_of(size: int) -> int | None:
    """Return the side of a square image with ``size`` pixels, or None if it is not square."""
    side = math.isqrt(size)
    return side if side > 1 and side * side == size else None


def picture(values: np.ndarray, low: float, high: float) -> str:
    """Return an image as a data URI.

    Parameters
    ----------
    values : ndarray
        The image, (height, width). Values outside the range are clipped; NaN is black.
    low, high : float
        The values that are drawn black and white.
    """
    span = high - low if high > low else 1.0
    scaled = np.nan_to_num((values.astype(np.float64) - low) / span, nan=0.0)
    pixels = (scaled.clip(0.0, 1.0) * 255).round().astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(_png(pixels)).decode()


def _png(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", size), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
