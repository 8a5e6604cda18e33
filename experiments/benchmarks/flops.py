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


def totals(terms: Sequence[Term]) -> tuple[float, float]:
    """Return the sums of the full and of the half column."""
    return sum(term.full for term in terms), sum(term.half for term in terms)


TERMS = {"kfra": kfra_terms, "adam": adam_terms}
"""Method name to its count; only what the benchmark offers."""
