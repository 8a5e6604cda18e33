import base64
import struct
import zlib

import numpy as np
import pytest

from kfgn_graph.program.report.pictures import SIGNATURE, picture, side_of


def decoded(uri: str) -> np.ndarray:
    """Return the pixels of a greyscale PNG whose lines are not filtered."""
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert content.startswith(SIGNATURE)
    parts, at = {}, len(SIGNATURE)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", content, at + 8 + length)[0] == zlib.crc32(kind + body)
        parts[kind], at = body, at + 12 + length
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    assert (depth, colour, rest) == (8, 0, [0, 0, 0])
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


def test_a_picture_has_the_values_between_black_and_white():
    values = np.array([[0.0, 0.5, 1.0], [-1.0, 2.0, np.nan]])
    assert decoded(picture(values, 0.0, 1.0)).tolist() == [[0, 128, 255], [0, 255, 0]]


def test_a_range_without_extent_is_drawn():
    assert decoded(picture(np.full((2, 2), 3.0), 3.0, 3.0)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(("size", "side"), [(784, 28), (625, 25), (64, 8), (10, None), (1, None)])
def test_only_squares_have_a_side(size, side):
    assert side_of(size) == side
