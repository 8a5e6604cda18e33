"""Bytes that one update moves at least, from its widths: float32, each array once a pass.

What a pass over the data reads and writes is counted where no cache could hold it from one pass to
the next; what lies between two operations of one pass is not. Symbols are those of
:mod:`experiments.benchmarks.flops`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from experiments.benchmarks.flops import FIRST_ORDER, Work, columns_of

ITEM = 4
"""Bytes of a number."""


@dataclass(frozen=True)
class Bytes:
    """One part's bytes.

    Attributes
    ----------
    name : str
        What it is.
    count : float
        Read and written, or kept.
    """

    name: str
    count: float


def update_traffic(sizes: Sequence[int], batch: int, work: Work) -> list[Bytes]:
    """Return the bytes that an update moves, averaged over its schedule.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output.
    batch : int
        N.
    work : Work
        What it does.

    Returns
    -------
    list of Bytes
        - forward and backward: parameters read twice, the gradient written, activations written
          and read, slopes written and read;
        - rule: of Adam parameters and two moments read and written, the gradient read; else
          parameters and, where the update adapts, the last update read and written;
        - factors: read and written, with what they are made of read once;
        - inverses: factors read, inverses written;
        - preconditioning: inverses and gradient read, the direction written;
        - model: directions and parameters read, activations and images written and read once a
          direction; the loss at the new parameters.
    """
    parameters = sum((d_in + 1.0) * d_out for d_in, d_out in pairwise(sizes))
    units = float(sum(sizes))
    passes = 3 * parameters + 4 * batch * units
    parts = {"forward and backward": passes}
    if work.method == FIRST_ORDER:
        parts["rule"] = 7 * parameters
    else:
        parts["rule"] = (4 if work.adaptive else 2) * parameters
        parts |= _curvature(sizes, batch, work, parameters)
    if work.adaptive:
        directions, examples = work.groups + 1, min(work.examples, batch)
        images = 2 * parameters + directions * (parameters + 2 * examples * units)
        parts["model"] = images + (parameters + 2 * batch * units) / work.test_every
    return [Bytes(name, ITEM * numbers) for name, numbers in parts.items()]


def _curvature(
    sizes: Sequence[int], batch: int, work: Work, parameters: float
) -> dict[str, float]:
    """Return the numbers moved for factors, inverses and preconditioning."""
    factors = sum((d_in + 1.0) ** 2 + d_out**2 for d_in, d_out in pairwise(sizes))
    columns = 1 if work.method == "kfra" else columns_of(work.method, sizes)
    made_of = batch * (sum(sizes[:-1]) + columns * sum(sizes[1:]))
    return {
        "factors": (2 * factors + made_of) / work.factors_every,
        "inverses": 2 * factors / work.refresh_every,
        "preconditioning": factors + 2 * parameters,
    }


def total_bytes(parts: Sequence[Bytes]) -> float:
    """Return the sum of the parts."""
    return sum(part.count for part in parts)
