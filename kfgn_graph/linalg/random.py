"""Random numbers as a pure function of a counter, a stream and an index.

The counter-based generator consists of integer Ops. All backends therefore draw the same numbers,
and the state is a single integer that a checkpoint can hold. The mixing function is the 32-bit
``lowbias32`` (C. Wellons, "Prospecting for hash functions", 2018).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable


def _constant(value: int) -> TensorVariable:
    return pt.constant(np.uint32(value))


def mix(x: TensorVariable) -> TensorVariable:
    """Return the ``lowbias32`` hash of each 32-bit integer of ``x``."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = pt.bitwise_xor(x, x // _constant(1 << shift))
        x = pt.bitwise_and(x * _constant(factor), _constant(0xFFFFFFFF))
    return pt.bitwise_xor(x, x // _constant(1 << 16))


class Draws:
    """A source of independent random numbers for one value of the counter.

    Each call of a method draws from a new stream. Streams are numbered in the order of the calls.

    Parameters
    ----------
    counter : scalar uint32 variable
        The number of the update, plus the seed. Equal counters give equal numbers.
    """

    def __init__(self, counter: TensorVariable) -> None:
        self._key = mix(counter + _constant(0x9E3779B9))
        self._stream = 0

    def _bits(self, shape: Sequence[TensorVariable | int]) -> TensorVariable:
        """Return 32 random bits for each entry, from the next stream."""
        self._stream += 1
        size = pt.prod(pt.stack(list(shape))) if shape else pt.constant(1)
        stream = mix(self._key + _constant(self._stream))
        index = pt.arange(size).astype("uint32")
        return pt.reshape(mix(pt.bitwise_xor(mix(index), stream)), tuple(shape))

    def uniform(self, shape: Sequence[TensorVariable | int], dtype: str) -> TensorVariable:
        """Return random numbers that are uniform in the open interval (0, 1)."""
        top = self._bits(shape) // _constant(1 << 8)
        return (top.astype(dtype) + np.asarray(0.5, dtype)) * np.asarray(2.0**-24, dtype)

    def signs(self, shape: Sequence[TensorVariable | int], dtype: str) -> TensorVariable:
        """Return random signs: +1 or -1 with probability one half each."""
        half = np.asarray(0.5, dtype)
        return pt.sign(self.uniform(shape, dtype) - half)

    def normal(self, shape: Sequence[TensorVariable | int], dtype: str) -> TensorVariable:
        """Return standard normal random numbers, by the transform of Box and Muller (1958)."""
        radius = pt.sqrt(np.asarray(-2.0, dtype) * pt.log(self.uniform(shape, dtype)))
        angle = np.asarray(2.0 * np.pi, dtype) * self.uniform(shape, dtype)
        return radius * pt.cos(angle)


def self_advancing_counter(seed: int = 0) -> TensorVariable:
    """Return a shared counter that each call of a compiled function advances by one."""
    counter = pytensor.shared(np.uint32(seed), name="kfgn_draw")
    with warnings.catch_warnings():
        # PyTensor deprecates default updates, but offers no other way to advance a state in
        # a plain `pytensor.function`.
        warnings.simplefilter("ignore", DeprecationWarning)
        counter.default_update = counter + _constant(1)
    return counter
