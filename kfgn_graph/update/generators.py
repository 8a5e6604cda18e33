"""The state of NumPy's random generators as arrays of integers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

#: The bits of a word.
WORD = 64


def packed(generator: np.random.Generator) -> np.ndarray:
    """Return the state of a generator's bit generator as uint64, of a fixed length for its kind.

    The entries are those of the state's dictionary in alphabetical order; each integer takes two
    words, the lower one first, since some have 128 bits.
    """
    return np.array(list(_words(generator.bit_generator.state)), np.uint64)


def unpacked(like: np.random.Generator, words: np.ndarray) -> np.random.Generator:
    """Return a new generator with the state that :func:`packed` returned.

    Parameters
    ----------
    like : Generator
        A generator of the same kind, which is not changed.
    words : ndarray of uint64
        The state.

    Raises
    ------
    ValueError
        If these are no state of this kind of generator.
    """
    kind = type(like.bit_generator)
    fresh = kind()
    fresh.state = _filled(like.bit_generator.state, iter(words.tolist()))
    return np.random.Generator(fresh)


def _words(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        for key in sorted(value.keys() - {"bit_generator"}):
            yield from _words(value[key])
    elif isinstance(value, np.ndarray):
        yield from value.ravel().tolist()
    else:
        yield value & ((1 << WORD) - 1)
        yield value >> WORD


def _filled(template: Any, words: Iterator[int]) -> Any:
    """Return a copy of a state with its numbers taken from words."""
    if isinstance(template, dict):
        names = sorted(template.keys() - {"bit_generator"})
        return {**template, **{key: _filled(template[key], words) for key in names}}
    if isinstance(template, np.ndarray):
        flat = [next(words) for _ in range(template.size)]
        return np.array(flat, np.uint64).astype(template.dtype).reshape(template.shape)
    return next(words) | next(words) << WORD
