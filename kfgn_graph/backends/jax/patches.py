"""JAX implementations of the patches of images, which pytensor-ml's convolutions are made of.

The Ops are known by module and name, so that the package does not depend on pytensor-ml. They are
registered when a function is compiled, if the library has been imported by then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from pytensor.graph.basic import Apply, Constant
from pytensor.graph.op import Op
from pytensor.link.jax.dispatch import jax_funcify

MODULE = "pytensor_ml.layers.conv"


def register_patches() -> None:
    """Register the Ops of the library, if it is imported and they have no implementation."""
    module = sys.modules.get(MODULE)
    for name, funcify in (("Im2Col", funcify_im2col), ("Col2Im", funcify_col2im)):
        op_type = getattr(module, name, None)
        if op_type is not None and jax_funcify.dispatch(op_type) is jax_funcify.dispatch(Op):
            jax_funcify.register(op_type)(funcify)


def places(op: Op, windows: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Return each tap of the kernel, with the places in the image that it meets."""
    taps = product(*(range(size) for size in op.kernel_size))
    return [(tap, tuple(map(slice, *_bounds(op, tap, windows)))) for tap in taps]


def _bounds(op: Op, tap: tuple[int, ...], windows: Sequence[int]) -> tuple[list[int], ...]:
    starts = [t * spacing for t, spacing in zip(tap, op.dilation, strict=True)]
    pairs = list(zip(starts, windows, op.stride, strict=True))
    stops = [start + (count - 1) * step + 1 for start, count, step in pairs]
    return starts, stops, list(op.stride)


def funcify_im2col(op: Op, **kwargs: Any) -> Callable[..., Any]:
    """Return a function from images (N, *places, C) to patches (N, *windows, *taps, C)."""

    def im2col(X: Any) -> Any:
        spans = [s * (k - 1) + 1 for k, s in zip(op.kernel_size, op.dilation, strict=True)]
        lengths = zip(X.shape[1:-1], spans, op.stride, strict=True)
        windows = [(n - span) // step + 1 for n, span, step in lengths]
        slices = [X[:, *where] for _, where in places(op, windows)]
        axis = 1 + len(windows)
        stacked = jnp.stack(slices, axis=axis)
        return stacked.reshape((len(X), *windows, *op.kernel_size, X.shape[-1]))

    return im2col


def funcify_col2im(op: Op, node: Apply, **kwargs: Any) -> Callable[..., Any]:
    """Return the transpose: each place of an image is the sum of the taps that meet it."""
    known = [
        int(v.data) if isinstance(v, Constant) else length
        for v, length in zip(node.inputs[1:], node.outputs[0].type.shape[1:-1], strict=True)
    ]

    def col2im(patches: Any, *extents: Any) -> Any:
        pairs = zip(known, extents, strict=True)
        lengths = [int(n) if length is None else length for length, n in pairs]
        windows = patches.shape[1 : 1 + len(lengths)]
        total = jnp.zeros((len(patches), *lengths, patches.shape[-1]), patches.dtype)
        zero = jnp.zeros((), patches.dtype)
        for tap, where in places(op, windows):
            part = patches[(slice(None), *[slice(None)] * len(windows), *tap)]
            # the entries between those that the tap meets are zeros
            padding = [
                (at.start, n - at.stop, at.step - 1) for at, n in zip(where, lengths, strict=True)
            ]
            total = total + jax.lax.pad(part, zero, [(0, 0, 0), *padding, (0, 0, 0)])
        return total

    return col2im
