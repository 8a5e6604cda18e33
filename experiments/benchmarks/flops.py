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

FIRST_ORDER = "adam"
"""Stands for any first-order rule."""


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

    def every(self, updates: int) -> "Term":
        """Return the part's share of an update where it is due once in so many."""
        return Term(self.name, self.full / updates, self.half / updates)


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
        Forward and backward, then :func:`factor_terms` and :func:`solve_terms`.
    """
    factors = factor_terms("kfra", sizes, batch)
    return [*adam_terms(sizes, batch), *factors, *solve_terms(sizes)]


def factor_terms(method: str, sizes: Sequence[int], batch: int) -> list[Term]:
    """Return the operations of one estimate of the factors.

    Parameters
    ----------
    method : {"kfra", "kflr", "kfac"}
        How G is made. Q takes ``2 N q^2`` a layer.
    sizes, batch
        As :func:`kfra_terms` has them.

    Returns
    -------
    list of Term
        - Q: the product of the activations with themselves;
        - recursion, of KFRA: ``W G W^T``, ``2 d_in d_out^2 + 2 d_in^2 d_out``, and the mean of
          ``b b^T``, ``2 N d_in^2``, a layer but the first. An output's G that is diagonal, as
          with a Bernoulli loss, is counted like any other, here and where it is solved with;
        - columns back, of KFLR and KFAC: the K columns of the loss's square root, or one that is
          drawn, carried back through a layer but the first, ``2 N d_in d_out`` each;
        - G: those columns' product with themselves, ``2 N g^2`` each.
    """
    layers = list(pairwise(sizes))
    upper = layers[1:]
    q_products = sum(2.0 * batch * (d_in + 1) ** 2 for d_in, _ in layers)
    terms = [Term("Q", q_products, q_products / 2)]
    if method == "kfra":
        general = sum(2.0 * d_in * d_out**2 for d_in, d_out in upper)
        symmetric = sum(2.0 * d_in**2 * d_out + 2.0 * batch * d_in**2 for d_in, d_out in upper)
        return [*terms, Term("recursion", general + symmetric, general + symmetric / 2)]
    columns = columns_of(method, sizes)
    back = sum(2.0 * columns * batch * d_in * d_out for d_in, d_out in upper)
    squares = sum(2.0 * columns * batch * d_out**2 for _, d_out in layers)
    return [*terms, Term("columns back", back, back), Term("G", squares, squares / 2)]


def columns_of(method: str, sizes: Sequence[int]) -> int:
    """Return how many columns an example KFLR or KFAC carries back."""
    return {"kflr": sizes[-1], "kfac": 1}[method]


def solve_terms(sizes: Sequence[int]) -> list[Term]:
    """Return the operations of fresh Cholesky factors and of solves with them.

    ``n^3 / 3`` a factor; two triangular systems a side, ``2 q g (q + g)`` a layer.
    """
    layers = list(pairwise(sizes))
    cholesky = sum(((d_in + 1) ** 3 + d_out**3) / 3.0 for d_in, d_out in layers)
    solves = sum(2.0 * (d_in + 1) * d_out * (d_in + 1 + d_out) for d_in, d_out in layers)
    return [Term("Cholesky", cholesky, cholesky), Term("solves", solves, solves)]


def kept_terms(sizes: Sequence[int], refresh_every: int) -> list[Term]:
    """Return the operations of inverses that are kept, and of products with them.

    A Cholesky decomposition and the inverse from it, ``n^3`` a factor; two products a layer,
    ``2 q g (q + g)``.
    """
    cubes = sum((d_in + 1.0) ** 3 + d_out**3 for d_in, d_out in pairwise(sizes)) / refresh_every
    _, solves = solve_terms(sizes)
    return [
        Term("inverses", cubes, cubes),
        Term("preconditioning", solves.full, solves.half),
    ]


def model_terms(
    sizes: Sequence[int], batch: int, groups: int = 2, examples: int = 250, test_every: int = 5
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
    test_every : int
        Updates between two evaluations of the loss at the new parameters.

    Returns
    -------
    list of Term
        - images: J times each direction in forward mode. With n examples, a layer whose weights
          move costs ``2 n d_in d_out``, and one whose input moves the same;
        - loss at the new parameters: one forward pass, where it is due.
    """
    layers = [2.0 * batch * d_in * d_out for d_in, d_out in pairwise(sizes)]
    n = len(layers)
    images, groups = sum(layers) + sum(layers[1:]), min(groups, n)
    for group in range(groups):
        moving = [i for i in range(n) if i * groups // n == group]
        images += sum(layers[i] for i in moving) + sum(layers[moving[0] + 1 :])
    images *= min(1.0, examples / batch)
    loss = Term("new loss", sum(layers), sum(layers))
    return [Term("images", images, images), loss.every(test_every)]


def adaptive_terms(
    sizes: Sequence[int], batch: int, factors_every: int, refresh_every: int
) -> list[Term]:
    """Return the operations of a KFRA update with kept inverses, averaged over its schedule.

    Parameters
    ----------
    sizes, batch
        As :func:`kfra_terms` has them.
    factors_every, refresh_every : int
        Updates between two estimates of the factors, and between two inversions.
    """
    return [
        *adam_terms(sizes, batch),
        *(term.every(factors_every) for term in factor_terms("kfra", sizes, batch)),
        *kept_terms(sizes, refresh_every),
        *model_terms(sizes, batch),
    ]


@dataclass(frozen=True)
class Work:
    """What an update computes.

    Attributes
    ----------
    method : {"adam", "kfra", "kflr", "kfac"}
        Adam is :data:`FIRST_ORDER`.
    factors_every, refresh_every : int
        Updates between two estimates of the factors, and between two inversions; where both are
        1, systems are solved and nothing is inverted.
    adaptive : bool
        Whether step lengths come from the quadratic model, and the step is tested.
    groups, examples : int
        Of the model, see :func:`model_terms`.
    test_every : int
        See :func:`model_terms`.
    """

    method: str
    factors_every: int = 1
    refresh_every: int = 1
    adaptive: bool = False
    groups: int = 1
    examples: int = 1
    test_every: int = 1


def update_terms(sizes: Sequence[int], batch: int, work: Work) -> list[Term]:
    """Return the operations of an update, averaged over its schedule.

    Parameters
    ----------
    sizes, batch
        As :func:`kfra_terms` has them.
    work : Work
        What it does.
    """
    terms = adam_terms(sizes, batch)
    if work.method == FIRST_ORDER:
        return terms
    factors = factor_terms(work.method, sizes, batch)
    terms += [term.every(work.factors_every) for term in factors]
    fresh = work.factors_every == work.refresh_every == 1
    terms += solve_terms(sizes) if fresh else kept_terms(sizes, work.refresh_every)
    if work.adaptive:
        terms += model_terms(sizes, batch, work.groups, work.examples, work.test_every)
    return terms


def totals(terms: Sequence[Term]) -> tuple[float, float]:
    """Return the sums of the full and of the half column."""
    return sum(term.full for term in terms), sum(term.half for term in terms)
