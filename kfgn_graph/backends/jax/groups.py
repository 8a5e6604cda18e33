"""JAX implementations of the nodes that stand for many matrices of like shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pytensor.link.jax.dispatch import jax_funcify

from kfgn_graph.backends.jax.dispatch import barrier, inverse
from kfgn_graph.backends.rewrites.like_shapes import FactorAverages, RefreshedInverses
from kfgn_graph.linalg.averages import moving_average


@jax_funcify.register(RefreshedInverses)
def jax_funcify_inverses(op: RefreshedInverses, **kwargs: Any) -> Callable[..., Any]:
    """Return a function that inverts in a loop over the matrices, if it is due."""

    def one(_: None, matrix: tuple[Any, ...]) -> tuple[None, tuple[Any, Any]]:
        old, A, shift = matrix
        fresh = inverse(A, shift, op.retry)
        finite = jnp.isfinite(fresh.sum())
        return None, (jnp.where(finite, fresh, old), finite)

    def refreshed(*inputs: Any) -> Any:
        *rest, due = inputs
        n = len(rest) // 3
        old, matrices, shifts = (rest[k * n : (k + 1) * n] for k in range(3))

        def renewed(old: Sequence[Any]) -> tuple[list[Any], Any]:
            _, (new, finite) = jax.lax.scan(
                one, None, tuple(map(jnp.stack, (old, matrices, shifts)))
            )
            return [new[i] for i in range(n)], finite.all()

        def kept(old: Sequence[Any]) -> tuple[list[Any], Any]:
            return list(old), jnp.asarray(True)

        new, finite = jax.lax.cond(due, renewed, kept, old)
        return *new, finite

    return refreshed


@jax_funcify.register(FactorAverages)
def jax_funcify_averages(op: FactorAverages, **kwargs: Any) -> Callable[..., Any]:
    """Return a function that averages all matrices of one shape at once."""

    def averages(*inputs: Any) -> Any:
        *rest, weight, sound = inputs
        n = len(rest) // 2
        old, new = rest[:n], rest[n:]
        places = groups_of([len(A) for A in old])
        stacks = [jnp.stack([new[i] for i in group]) for group in places]
        order = np.argsort(np.concatenate(places))
        finite = jnp.concatenate([jnp.isfinite(stack.sum(axis=(1, 2))) for stack in stacks])[order]
        sounds = sound & (jnp.cumsum(~finite) == 0)
        found: list[Any] = [None] * n
        for group, stack in zip(places, stacks, strict=True):
            before = jnp.stack([old[i] for i in group])
            mean = moving_average(before, stack, jnp.asarray(weight))
            chosen = jnp.where(sounds[np.array(group)][:, None, None], mean, before)
            for i, average in zip(group, chosen, strict=True):
                found[i] = average
        return barrier((*found, sounds[-1]))

    return averages


def groups_of(widths: Sequence[int]) -> list[list[int]]:
    """Return the positions of each width."""
    return [[i for i, w in enumerate(widths) if w == width] for width in dict.fromkeys(widths)]
