"""The derivatives of one step v = f(u_1, ..., u_m) of a network, example by example, by JAX.

The function is differentiated at one example after the other: nothing is assumed of its form.
An example's values are flattened, D_v of v and D_i of u_i.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import numpy as np

Array = np.ndarray

# Every function runs a few times only: compiling it fast matters more than running it fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclass(frozen=True)
class LocalTruth:
    """The derivatives of a step at R examples.

    Attributes
    ----------
    event : tuple of int
        The shape of one example's v.
    first : list of (R, D_v, D_i)
        dv / du_i.
    second : list of list of (R, D_v, D_i, D_j)
        d^2 v / du_i du_j, for every i and j.
    """

    event: tuple[int, ...]
    first: list[Array]
    second: list[list[Array]]

    def transpose_apply(self, C: Array) -> list[Array]:
        """Return J_i^T C[k, r] for each column k and example r: (K, R, ...) to (K, R, D_i)."""
        columns = C.reshape((*C.shape[:2], -1))
        return [
            np.stack([[J[r].T @ c for r, c in enumerate(column)] for column in columns])
            for J in self.first
        ]

    def mean_transpose_apply(self, M: Array) -> list[Array]:
        """Return the mean over examples of J_i^T M: (D_v, m) to (D_i, m)."""
        return [sum(j.T @ M for j in J) / len(J) for J in self.first]

    def mean_congruence(self, G: Array) -> list[list[Array]]:
        """Return the mean over examples of J_i^T G J_j, for every i and j >= i."""
        return [
            [
                sum(a.T @ G @ b for a, b in zip(left, right, strict=True)) / len(left)
                for right in self.first[i:]
            ]
            for i, left in enumerate(self.first)
        ]

    def second_order(self, g: Array) -> list[list[Array]]:
        """Return sum_k g_k d^2 v_k / du_i du_j for every i and j >= i, each of (R, D_i, D_j).

        g, of shape (R, ...), is the gradient of the loss by v.
        """
        return [
            [
                np.stack([np.tensordot(s.reshape(-1), h, 1) for s, h in zip(g, H, strict=True)])
                for H in blocks[i:]
            ]
            for i, blocks in enumerate(self.second)
        ]


def local_truth(
    function: Callable[..., Any],
    varying: Sequence[tuple[Array, int]],
    held: Sequence[tuple[Array, int]],
    example_axes: int,
) -> LocalTruth:
    """Differentiate a step.

    Parameters
    ----------
    function : callable
        From the u_i and the arrays that are held to v. It is called with one example at a time;
        the axes that enumerate examples have length 1 then.
    varying, held : sequence of (array, int)
        Each array with the number of its leading axes that enumerate examples; 0 for an array
        that is the same for every example.
    example_axes : int
        The number of leading axes of v that enumerate examples.
    """
    given = [*varying, *held]
    rows = [a.reshape((-1, *a.shape[axes:])) if axes else a[None] for a, axes in given]
    shapes = tuple((1,) * axes + a.shape[axes:] for a, axes in given)
    derivatives = _derivatives(function, len(varying), shapes)
    found = [
        derivatives(*(r[n if axes else 0] for r, (_, axes) in zip(rows, given, strict=True)))
        for n in range(len(rows[0]))
    ]
    value = found[0][0]
    assert value.shape[:example_axes] == (1,) * example_axes
    first, second = jax.tree.map(
        lambda *examples: np.stack(examples), *[(first, second) for _, first, second in found]
    )
    return LocalTruth(value.shape[example_axes:], first, second)


@cache
def _derivatives(
    function: Callable[..., Any], n_varying: int, shapes: tuple[tuple[int, ...], ...]
) -> Any:
    """Compile value, first and second derivatives of the flattened v of one example."""

    @partial(jax.jit, compiler_options=QUICK)
    def derivatives(*arrays: Any) -> Any:
        def value(*flat: Any) -> Any:
            shaped = [a.reshape(s) for a, s in zip((*flat, *rest), shapes, strict=True)]
            return function(*shaped)

        rest = arrays[n_varying:]
        flat = [a.reshape(-1) for a in arrays[:n_varying]]
        which = tuple(range(n_varying))
        flattened = lambda *flat: value(*flat).reshape(-1)  # noqa: E731
        jacobians = jax.jacrev(flattened, which)
        return value(*flat), list(jacobians(*flat)), jax.jacfwd(jacobians, which)(*flat)

    return derivatives
