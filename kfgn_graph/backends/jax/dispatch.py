r"""JAX's rules for Ops of ours; imported where JAX compiles.

Products that invert are as exact as the dtype wherever others may be less: their errors grow with
the matrix's condition. XLA compiles each branch of a choice, so that a second attempt is to
factorise alone: what makes an inverse of the Cholesky factor stands after both. LAPACK counts
columns first: what is given to it transposed and taken from it transposed is not copied for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from pytensor.link.jax.dispatch import jax_funcify

from kfgn_graph.linalg.averages import FactorAverage, moving_average
from kfgn_graph.linalg.materialise import Materialise
from kfgn_graph.linalg.matrices import RefreshedInverse, ShiftedInverse
from kfgn_graph.linalg.newton_schulz import (
    IteratedInverses,
    bound_after_step,
    centring_scale,
    first_step,
    newton_step,
    residual,
    split_inputs,
)
from kfgn_graph.linalg.shifted_solve import ShiftedSolve

#: A matrix of at most so many rows is inverted entry by entry.
FEW = 4
#: Of what a GPU's widths are made a multiple, where many products are taken.
ALIGNED = 32
THRICE = "TF32_TF32_F32_X3"
#: Passes on what it is given, all of it computed before anything goes on.
barrier: Callable[[Any], Any] = jax.lax.optimization_barrier


@cache
def exact(dtype: str) -> str:
    """Return JAX's name of products as exact as the dtype's: what a GPU has that is fastest.

    Three products in TF32, of what that holds of the numbers and of what it leaves. A CPU's own
    are exact.
    """
    if jax.default_backend() == "cpu":
        return "default"
    if jax.default_backend() != "gpu" or dtype != "float32":
        return "highest"
    unit = jnp.eye(2, dtype=dtype)
    try:
        with jax.default_matmul_precision(THRICE):
            jax.jit(jnp.matmul).lower(unit, unit).compile()
    except jax.errors.JaxRuntimeError:  # a GPU that has no TF32
        return "highest"
    return THRICE


def exact_product(A: Any, B: Any) -> Any:
    """Return a product as exact as the dtype's."""
    with jax.default_matmul_precision(exact(str(A.dtype))):
        return A @ B


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
    if len(A) <= FEW and not retry:
        return swept(A, shift)
    L = cholesky(A, shift, retry)
    unit = jnp.eye(len(A), dtype=A.dtype).T
    root = jax.lax.linalg.triangular_solve(L, unit, left_side=True, lower=True).T
    return exact_product(root, root.T)


def swept(A: Any, shift: Any) -> Any:
    """Return the inverse of few entries by Gauss and Jordan's sweeps, NaN at a pivot below 0.

    XLA makes one kernel of them, where a GPU's LAPACK takes several and waits between.
    """
    places = range(len(A))
    M = {(i, j): A[max(i, j), min(i, j)] + shift * (i == j) for i in places for j in places}
    for k in places:
        pivot = jnp.where(M[k, k] > 0, M[k, k], jnp.nan)
        rest = [i for i in places if i != k]
        M |= {(i, j): M[i, j] - M[i, k] * M[k, j] / pivot for i in rest for j in rest}
        M |= {p: M[p] / pivot for i in rest for p in ((i, k), (k, i))}
        M[k, k] = -1 / pivot
    return -jnp.stack([jnp.stack([M[i, j] for j in places]) for i in places])


@jax_funcify.register(ShiftedSolve)
def jax_funcify_solve(op: ShiftedSolve, **kwargs: Any) -> Callable[..., Any]:
    """Return two triangular solves of what LAPACK takes B for, its transpose."""

    def solve(A: Any, shift: Any, B: Any) -> Any:
        if len(A) <= FEW and not op.retry:
            X = swept(A, shift)
            return exact_product(X, B) if op.left else exact_product(B, X)
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


@jax_funcify.register(IteratedInverses)
def jax_funcify_iterated(op: IteratedInverses, **kwargs: Any) -> Callable[..., Any]:
    """Return one loop for all matrices, which on a GPU waits for the host once an iteration.

    A matrix that has come to its end waits for the others.
    """

    def begin(start: Any, A: Any, least: Any) -> tuple[Any, ...]:
        X, image, claimed = first_step(jnp, start, A, least)
        return judged(op, X, image, claimed, jnp.full_like(claimed, jnp.inf))

    def step(A: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        X, E, scale, bound, last, done = state
        Y = newton_step(X, E, scale)
        new = judged(op, Y, A @ Y, bound, last)
        return tuple(jnp.where(done, o, n) for o, n in zip(state, new, strict=True))

    def going_on(carry: tuple[Any, Any]) -> Any:
        count, states = carry
        return (count < op.iterations) & ~jnp.concatenate([state[-1] for state in states]).all()

    def inverses(*inputs: Any) -> Any:
        _, matrices, _ = split_inputs(inputs)
        groups = groups_of([len(A) for A in matrices])
        with jax.default_matmul_precision(exact(str(matrices[0].dtype))):
            stacks = [stacked(inputs, places, size) for size, places in groups]

            def steps(carry: tuple[Any, Any]) -> tuple[Any, Any]:
                count, states = carry
                pairs = zip(stacks, states, strict=True)
                return count + 1, [jax.vmap(step)(A, state) for (_, A, _), state in pairs]

            begun = 1, [jax.vmap(begin)(*stack) for stack in stacks]
            _, states = jax.lax.while_loop(going_on, steps, begun)
            finished = [jax.vmap(newton_step)(*state[:3]) for state in states]
        order = [i for _, places in groups for i in places]
        found = dict(zip(order, (X for stack in finished for X in stack), strict=True))
        cut = [found[i][: len(A), : len(A)] for i, A in enumerate(matrices)]
        return cut if len(cut) > 1 else cut[0]

    return inverses


def judged(op: IteratedInverses, X: Any, image: Any, claimed: Any, last: Any) -> tuple[Any, ...]:
    """Return the state of one matrix: X, E, their scale, the next claim, the error, the end."""
    scale, bound = centring_scale(claimed), bound_after_step(claimed)
    E = residual(jnp, image, scale)
    error = jnp.sqrt(jnp.vdot(E, E))
    return X, E, scale, bound, error, op.ends(jnp, error, last, bound)


def multiple() -> int:
    """Return of what widths are made a multiple: on a GPU of a power of two, which is faster."""
    return 1 if jax.default_backend() == "cpu" else ALIGNED


def groups_of(widths: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Return which matrices are multiplied in one call, and to what width they are made.

    A GPU multiplies several matrices of one width in little more time than one, a CPU one after
    another.
    """
    wider = [-(-width // multiple()) * multiple() for width in widths]
    if multiple() == 1:
        return [(width, [i]) for i, width in enumerate(wider)]
    return [(w, [i for i, v in enumerate(wider) if v == w]) for w in dict.fromkeys(wider)]


def stacked(inputs: Sequence[Any], places: Sequence[int], size: int) -> list[Any]:
    """Return starts, matrices and bounds at places, widened by a multiple of the identity."""
    starts, matrices, least = ([values[i] for i in places] for values in split_inputs(inputs))
    means = [A.trace() / len(A) for A in matrices]
    return [
        jnp.stack([widened(X, size, 1 / mean) for X, mean in zip(starts, means, strict=True)]),
        jnp.stack([widened(A, size, mean) for A, mean in zip(matrices, means, strict=True)]),
        jnp.stack(least),
    ]


def widened(A: Any, size: int, value: Any) -> Any:
    """Return A, (d, d), with so many rows and columns, the value on the diagonal of those new."""
    d = len(A)
    if d == size:
        return A
    beyond = jnp.diag(jnp.arange(size) >= d)
    return jnp.where(beyond, value, jnp.pad(A, (0, size - d)))


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


@jax_funcify.register(Materialise)
def jax_funcify_held(op: Materialise, **kwargs: Any) -> Callable[..., Any]:
    """Return what XLA does not look through."""
    return barrier
