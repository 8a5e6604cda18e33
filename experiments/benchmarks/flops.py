"""Floating-point operations of one update of a multilayer perceptron, from its widths.

An addition and a multiplication count one each; only products, factorisations and solves are
counted, what is linear in the batch's activations is not. Layer l maps ``d_in`` units to
``d_out``; ``q = d_in + 1`` is the size of its Q (the bias is the last coordinate), ``g = d_out``
that of its G; N is the batch.

A product whose result is symmetric needs only one of its triangles. Each such term is therefore
given in full, as a plain GEMM computes it, and in half, as SYRK would.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Term:
    """One part of an update.

    Attributes
    ----------
    name : str
        What it is.
    full : float
        Operations, every product in full.
    half : float
        Operations with each symmetric result computed once.
    """

    name: str
    full: float
    half: float


def adam_terms(sizes: Sequence[int], batch: int) -> list[Term]:
    """Return the operations of a first-order update: forward and backward passes.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output.
    batch : int
        N.
    """
    forward = sum(2 * batch * d_in * d_out for d_in, d_out in pairwise(sizes))
    weight_gradients = forward
    input_gradients = sum(2 * batch * d_in * d_out for d_in, d_out in pairwise(sizes[1:]))
    total = float(forward + weight_gradients + input_gradients)
    return [Term("forward and backward", total, total)]


def kfra_terms(sizes: Sequence[int], batch: int) -> list[Term]:
    """Return the operations of a KFRA update with fresh Cholesky factors and solves.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output.
    batch : int
        N.

    Returns
    -------
    list of Term
        - forward and backward;
        - Q: the product of the activations with themselves, ``2 N q^2`` a layer;
        - recursion: ``W G W^T``, ``2 d_in d_out^2 + 2 d_in^2 d_out``, and the mean of ``b b^T``,
          ``2 N d_in^2``, a layer but the first. The first product is taken as full although G
          is diagonal at a Bernoulli output;
        - Cholesky: ``n^3 / 3`` a factor;
        - solves: two triangular systems a side, ``2 q g (q + g)`` a layer.
    """
    layers = list(pairwise(sizes))
    upper = layers[1:]
    q_products = sum(2.0 * batch * (d_in + 1) ** 2 for d_in, _ in layers)
    general = sum(2.0 * d_in * d_out**2 for d_in, d_out in upper)
    symmetric = sum(2.0 * d_in**2 * d_out + 2.0 * batch * d_in**2 for d_in, d_out in upper)
    cholesky = sum(((d_in + 1) ** 3 + d_out**3) / 3.0 for d_in, d_out in layers)
    solves = sum(2.0 * (d_in + 1) * d_out * (d_in + 1 + d_out) for d_in, d_out in layers)
    return [
        *adam_terms(sizes, batch),
        Term("Q", q_products, q_products / 2),
        Term("recursion", general + symmetric, general + symmetric / 2),
        Term("Cholesky", cholesky, cholesky),
        Term("solves", solves, solves),
    ]


def model_terms(
    sizes: Sequence[int], batch: int, groups: int = 2, examples: int = 500
) -> list[Term]:
    """Return the operations of choosing the step lengths and of testing the step.

    Parameters
    ----------
    sizes, batch
        As :func:`kfra_terms` has them.
    groups : int
        Of layers, each a direction of the quadratic model beside the previous update.
    examples : int
        Of the batch, that the model reads at most.

    Returns
    -------
    list of Term
        - images: J times each direction in forward mode. With n examples, a layer whose weights
          move costs ``2 n d_in d_out``, and one whose input moves the same;
        - loss at the new parameters: one forward pass.
    """
    layers = [2.0 * batch * d_in * d_out for d_in, d_out in pairwise(sizes)]
    n = len(layers)
    images = sum(layers) + sum(layers[1:])
    for group in range(groups):
        moving = [i for i in range(n) if i * groups // n == group]
        images += sum(layers[i] for i in moving) + sum(layers[moving[0] + 1 :])
    images *= min(1.0, examples / batch)
    return [Term("images", images, images), Term("new loss", sum(layers), sum(layers))]


def adaptive_terms(
    sizes: Sequence[int], batch: int, factors_every: int, refresh_every: int
) -> list[Term]:
    """Return the operations of a KFRA update with kept inverses, averaged over its schedule.

    Parameters
    ----------
    sizes, batch
        As :func:`kfra_terms` has them.
    factors_every, refresh_every : int
        Updates between two estimates of the factors, and between two inversions: a Cholesky
        decomposition and the inverse from it, ``n^3`` a factor.
    """
    plain = {term.name: term for term in kfra_terms(sizes, batch)}
    cubes = sum((d_in + 1.0) ** 3 + d_out**3 for d_in, d_out in pairwise(sizes)) / refresh_every
    factors = [
        Term(name, plain[name].full / factors_every, plain[name].half / factors_every)
        for name in ("Q", "recursion")
    ]
    return [
        plain["forward and backward"],
        *factors,
        Term("inverses", cubes, cubes),
        Term("preconditioning", plain["solves"].full, plain["solves"].half),
        *model_terms(sizes, batch),
    ]


def totals(terms: Sequence[Term]) -> tuple[float, float]:
    """Return the sums of the full and of the half column."""
    return sum(term.full for term in terms), sum(term.half for term in terms)
