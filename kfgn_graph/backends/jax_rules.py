r"""JAX's rules for Ops of ours; imported where JAX compiles.

XLA compiles each branch of a choice, so that a second attempt is to factorise alone: what makes
an inverse of the Cholesky factor stands after both. LAPACK counts columns first: what is given to
it transposed and taken from it transposed is not copied for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from pytensor.link.jax.dispatch import jax_funcify

from kfgn_graph.averaging import FactorAverage, moving_average
from kfgn_graph.backends.inverses import ShiftedSolve
from kfgn_graph.backends.recomputing import Held
from kfgn_graph.matrices import RefreshedInverse, ShiftedInverse

#: Passes on what it is given, all of it computed before anything goes on.
barrier: Callable[[Any], Any] = jax.lax.optimization_barrier


def cholesky(A: Any, shift: Any, retry: float) -> Any:
    """Return L with A + s I = L L^T, by the second attempt where the first fails."""

    def attempt(s: Any) -> Any:
        damped = A + s * jnp.eye(len(A), dtype=A.dtype)
        return jax.lax.linalg.cholesky(damped.T, symmetrize_input=False)

    L = attempt(shift)
    if not retry:
        return L
    return jax.lax.cond(jnp.isfinite(L[-1, -1]), lambda: L, lambda: attempt(retry * shift))


def inverse(A: Any, shift: Any, retry: float) -> Any:
    r"""Return :math:`L^{-T} L^{-1}`: a second solve would take longer than the product."""
    L = cholesky(A, shift, retry)
    unit = jnp.eye(len(A), dtype=A.dtype).T
    root = jax.lax.linalg.triangular_solve(L, unit, left_side=True, lower=True).T
    return root @ root.T


@jax_funcify.register(ShiftedSolve)
def jax_funcify_solve(op: ShiftedSolve, **kwargs: Any) -> Callable[..., Any]:
    """Return two triangular solves of what LAPACK takes B for, its transpose."""

    def solve(A: Any, shift: Any, B: Any) -> Any:
        L, X = cholesky(A, shift, op.retry), B.T
        for transposed in (True, False) if op.left else (False, True):
            X = jax.lax.linalg.triangular_solve(
                L, X, left_side=not op.left, lower=True, transpose_a=transposed
            )
        return X.T

    return solve


@jax_funcify.register(ShiftedInverse)
def jax_funcify_inverse(op: ShiftedInverse, **kwargs: Any) -> Callable[..., Any]:
    """Return the inversion."""
    return lambda A, shift: inverse(A, shift, op.retry)


@jax_funcify.register(RefreshedInverse)
def jax_funcify_refreshed(op: RefreshedInverse, **kwargs: Any) -> Callable[..., Any]:
    """Return the inversion where it is due."""

    def refreshed(old: Any, A: Any, shift: Any, due: Any) -> Any:
        def renewed(old: Any) -> tuple[Any, Any]:
            fresh = inverse(A, shift, op.retry)
            finite = jnp.isfinite(fresh.sum())
            return jnp.where(finite, fresh, old), finite

        return jax.lax.cond(due, renewed, lambda old: (old, jnp.asarray(True)), old)

    return refreshed


@jax_funcify.register(FactorAverage)
def jax_funcify_average(op: FactorAverage, **kwargs: Any) -> Callable[..., Any]:
    """Return the average, which is made before anything goes on with whether it is sound.

    The sum of all tells it: unlike the diagonal's it is none of XLA's own kernels.
    """

    def average(old: Any, new: Any, weight: Any, sound: Any) -> Any:
        sound = sound & jnp.isfinite(new.sum())
        mean = moving_average(old, new, jnp.asarray(weight))
        chosen = jnp.where(sound, mean, old)
        return barrier((chosen, sound))

    return average


@jax_funcify.register(Held)
def jax_funcify_held(op: Held, **kwargs: Any) -> Callable[..., Any]:
    """Return what XLA does not look through."""
    return barrier
