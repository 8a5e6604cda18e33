"""Bytes that training has to keep at once, from a network's widths: float32.

Symbols are those of :mod:`experiments.benchmarks.flops`.
"""

from collections.abc import Sequence
from itertools import pairwise

from experiments.benchmarks.flops import FIRST_ORDER, Work, columns_of
from experiments.benchmarks.traffic import ITEM, Bytes


def kept(sizes: Sequence[int], batch: int, work: Work) -> list[Bytes]:
    """Return what an update keeps, part by part.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output.
    batch : int
        N.
    work : Work
        What the update does.

    Returns
    -------
    list of Bytes
        - parameters: with Adam's two moments, or with the last update where the update adapts;
        - activations: each layer's output, N numbers a unit;
        - columns: what KFLR and KFAC carry back through the widest layer;
        - factors and inverses: ``q^2 + g^2`` a layer, each.
    """
    parameters = sum((d_in + 1) * d_out for d_in, d_out in pairwise(sizes))
    copies = 3 if work.method == FIRST_ORDER else 2 if work.adaptive else 1
    parts = {"parameters": copies * parameters, "activations": batch * sum(sizes[1:])}
    if work.method != FIRST_ORDER:
        factors = sum((d_in + 1) ** 2 + d_out**2 for d_in, d_out in pairwise(sizes))
        parts |= {"factors": factors, "inverses": factors}
        if work.method != "kfra":
            parts["columns"] = columns_of(work.method, sizes) * batch * max(sizes[1:])
    return [Bytes(name, float(ITEM * numbers)) for name, numbers in parts.items()]


def held(sizes: Sequence[int], batch: int, work: Work, inverses: bool) -> list[Bytes]:
    """Return what of :func:`kept` is there between two updates.

    Parameters
    ----------
    sizes, batch, work
        As for :func:`kept`.
    inverses : bool
        Whether the inverses are.
    """
    passing = {"activations", "columns"} | (set() if inverses else {"inverses"})
    return [part for part in kept(sizes, batch, work) if part.name not in passing]
