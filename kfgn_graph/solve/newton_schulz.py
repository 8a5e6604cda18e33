"""Inverses by matrix products alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched

import numpy as np
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.arguments import positive_count
from kfgn_graph.curvature.kronecker import (
    KroneckerFactors,
    damped,
    factor_shifts,
)
from kfgn_graph.linalg.newton_schulz import IteratedInverses
from kfgn_graph.solve.base import KeptBlock, PairOfInverses, Parts


@dataclass(frozen=True)
class NewtonSchulz(PairOfInverses):
    r"""Inverses by matrix products alone, started from the last ones: what a GPU does fastest.

    Iterates :math:`X \leftarrow s X (2 I - s A X)` from the last inverse where that is near, else
    from a multiple of the identity, with the least eigenvalue known from the damping
    (``newton_schulz.py``).

    Parameters
    ----------
    iterations : int
        At most; a cold start needs some :math:`\log_4` of the condition number, and three more.
    tolerance : float, optional
        Stops where :math:`\|I - A X\|_F` will be at most this, or where a step no longer
        halves it; by default the root of the dtype's precision.
    """

    iterations: int = 40
    tolerance: float | None = None

    name = "newton-schulz"
    warm = True

    def __post_init__(self) -> None:
        positive_count("iterations", self.iterations)

    def refresh(self, factors: KroneckerFactors, gamma: TensorVariable, old: Parts) -> Parts:
        return self.all_refreshed([KeptBlock(factors, gamma, old)])[0]

    def all_refreshed(self, blocks: Sequence[KeptBlock]) -> list[Parts]:
        starts: list[TensorVariable] = []
        matrices: list[TensorVariable] = []
        least: list[TensorVariable] = []
        for block in blocks:
            shifted = damped(block.factors, block.gamma)
            # V stands after a right inverse of Q and before one of G, transposed
            starts += [block.old["Q"], block.old["G"].T]
            matrices += [shifted.Q, shifted.G]
            least += factor_shifts(block.factors, block.gamma)
        found = self.inverses(starts, matrices, least)
        return [{"Q": Q, "G": G.T} for Q, G in batched(found, 2)]

    def inverses(
        self,
        starts: Sequence[TensorVariable],
        matrices: Sequence[TensorVariable],
        least: Sequence[TensorVariable],
    ) -> list[TensorVariable]:
        """Return right inverses of symmetric matrices with eigenvalues of at least so much."""
        tolerance = self.tolerance or float(np.sqrt(np.finfo(matrices[0].type.dtype).eps))
        op = IteratedInverses(self.iterations, tolerance)
        return op(*starts, *matrices, *least, return_list=True)
