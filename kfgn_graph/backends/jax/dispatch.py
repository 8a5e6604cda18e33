r"""JAX implementations of the package's Ops; imported when JAX compiles a function.

Products within an inverse have the full precision of the dtype, whatever precision JAX is set to,
because their errors grow with the condition number. XLA compiles both branches of a conditional;
therefore only the second Cholesky factorisation is in a branch, and the inverse is computed from
the factor after it. LAPACK's arrays are column-major: arguments are passed transposed, and results
are transposed back, so that XLA makes no copies to change the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from pytensor.link.jax.dispatch import jax_funcify

from kfgn_graph.backends.rewrites.materialise import Materialise
from kfgn_graph.linalg.averages import FactorAverage, moving_average
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

#: The largest matrix that is inverted by scalar arithmetic.
SMALL = 4
#: On a GPU, matrices that are multiplied many times are padded to a multiple of this width.
ALIGNED = 32
#: Three products in TF32, with the accuracy of one in float32.
THREE_TF32 = "TF32_TF32_F32_X3"
#: Returns its argument; all arrays of the argument are computed before any is used.
barrier: Callable[[Any], Any] = jax.lax.optimization_barrier


@cache
def full_precision(dtype: str) -> str:
    """Return the fastest of JAX's matmul precisions that has the full precision of a dtype.

    On a GPU that is three products in TF32: of the leading bits of both factors, and of the
    leading bits of each with the remaining bits of the other.
    """
    if jax.default_backend() == "cpu":
        return "default"
    if jax.default_backend() != "gpu" or dtype != "float32":
        return "highest"
    unit = jnp.eye(2, dtype=dtype)
    try:
        with jax.default_matmul_precision(THREE_TF32):
            jax.jit(jnp.matmul).lower(unit, unit).compile()
    except jax.errors.JaxRuntimeError:  # a GPU that has no TF32
        return "highest"
    return THREE_TF32


def precise_product(A: Any, B: Any) -> Any:
    """Return A B at the full precision of the dtype."""
    with jax.default_matmul_precision(full_precision(str(A.dtype))):
        return A @ B


def cholesky(A: Any, shift: Any, retry: float) -> Any:
    """Return L with A + s I = L L^T; if that fails, L of A + retry s I."""

    def attempt(s: Any) -> Any:
        damped = A + s * jnp.eye(len(A), dtype=A.dtype)
        return jax.lax.linalg.cholesky(damped.T, symmetrize_input=False)

    L = attempt(shift)
    if not retry:
        return L
    return jax.lax.cond(jnp.isfinite(L[-1, -1]), lambda: L, lambda: attempt(retry * shift))


def inverse(A: Any, shift: Any, retry: float) -> Any:
    r"""Return :math:`(A + s I)^{-1} = L^{-T} L^{-1}`, by one triangular solve and a product."""
    if len(A) <= SMALL and not retry:
        return small_inverse(A, shift)
    L = cholesky(A, shift, retry)
    unit = jnp.eye(len(A), dtype=A.dtype).T
    root = jax.lax.linalg.triangular_solve(L, unit, left_side=True, lower=True).T
    return precise_product(root, root.T)


def small_inverse(A: Any, shift: Any) -> Any:
    """Return (A + s I)^-1 by Gauss-Jordan sweeps, unrolled; NaN if a pivot is not positive.

    XLA fuses the sweeps to one kernel. A GPU's factorisations take several kernels.
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
    """Return a function that solves two triangular systems for the transpose of B."""

    def solve(A: Any, shift: Any, B: Any) -> Any:
        if len(A) <= SMALL and not op.retry:
            X = small_inverse(A, shift)
            return precise_product(X, B) if op.left else precise_product(B, X)
        L, X = cholesky(A, shift, op.retry), B.T
        for transposed in (True, False) if op.left else (False, True):
            X = jax.lax.linalg.triangular_solve(
                L, X, left_side=not op.left, lower=True, transpose_a=transposed
            )
        return X.T

    return solve


@jax_funcify.register(ShiftedInverse)
def jax_funcify_inverse(op: ShiftedInverse, **kwargs: Any) -> Callable[..., Any]:
    """Return a function that inverts."""
    return lambda A, shift: inverse(A, shift, op.retry)


@jax_funcify.register(RefreshedInverse)
def jax_funcify_refreshed(op: RefreshedInverse, **kwargs: Any) -> Callable[..., Any]:
    """Return a function that inverts if it is due."""

    def refreshed(old: Any, A: Any, shift: Any, due: Any) -> Any:
        def renewed(old: Any) -> tuple[Any, Any]:
            fresh = inverse(A, shift, op.retry)
            finite = jnp.isfinite(fresh.sum())
            return jnp.where(finite, fresh, old), finite

        return jax.lax.cond(due, renewed, lambda old: (old, jnp.asarray(True)), old)

    return refreshed


@jax_funcify.register(IteratedInverses)
def jax_funcify_iterated(op: IteratedInverses, **kwargs: Any) -> Callable[..., Any]:
    """Return a function that iterates all matrices in one loop until all have converged.

    A GPU then synchronises with the host once for each iteration of all matrices together.
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
        with jax.default_matmul_precision(full_precision(str(matrices[0].dtype))):
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
    """Return the state of one matrix: X, E, scale, bound of the next error, error, finished."""
    scale, bound = centring_scale(claimed), bound_after_step(claimed)
    E = residual(jnp, image, scale)
    error = jnp.sqrt(jnp.vdot(E, E))
    return X, E, scale, bound, error, op.ends(jnp, error, last, bound)


def multiple() -> int:
    """Return the width to whose multiples matrices are padded: 1 on a CPU."""
    return 1 if jax.default_backend() == "cpu" else ALIGNED


def groups_of(widths: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Group the matrices that are multiplied in one batched product.

    On a GPU a batch of products takes little longer than one product. On a CPU every matrix has
    a group of one.

    Returns
    -------
    list of (int, list of int)
        The padded width of each group, and the positions of its matrices.
    """
    wider = [-(-width // multiple()) * multiple() for width in widths]
    if multiple() == 1:
        return [(width, [i]) for i, width in enumerate(wider)]
    return [(w, [i for i, v in enumerate(wider) if v == w]) for w in dict.fromkeys(wider)]


def stacked(inputs: Sequence[Any], places: Sequence[int], size: int) -> list[Any]:
    """Return the padded starts, matrices and bounds at the given positions, each stacked."""
    starts, matrices, least = ([values[i] for i in places] for values in split_inputs(inputs))
    means = [A.trace() / len(A) for A in matrices]
    return [
        jnp.stack([padded(X, size, 1 / mean) for X, mean in zip(starts, means, strict=True)]),
        jnp.stack([padded(A, size, mean) for A, mean in zip(matrices, means, strict=True)]),
        jnp.stack(least),
    ]


def padded(A: Any, size: int, value: Any) -> Any:
    """Return A, (d, d), padded to (size, size), with a value on the new part of the diagonal."""
    d = len(A)
    if d == size:
        return A
    beyond = jnp.diag(jnp.arange(size) >= d)
    return jnp.where(beyond, value, jnp.pad(A, (0, size - d)))


@jax_funcify.register(FactorAverage)
def jax_funcify_average(op: FactorAverage, **kwargs: Any) -> Callable[..., Any]:
    """Return a function that averages.

    The barrier completes the average before its flag is used, so that XLA does not hold several
    new estimates at once. The sum of all entries, which XLA fuses with the average, shows whether
    the estimate is finite.
    """

    def average(old: Any, new: Any, weight: Any, sound: Any) -> Any:
        sound = sound & jnp.isfinite(new.sum())
        mean = moving_average(old, new, jnp.asarray(weight))
        chosen = jnp.where(sound, mean, old)
        return barrier((chosen, sound))

    return average


@jax_funcify.register(Materialise)
def jax_funcify_materialise(op: Materialise, **kwargs: Any) -> Callable[..., Any]:
    """Return a function that XLA does not fuse with the consumers of its result."""
    return barrier
