"""Inverses by Newton-Schulz iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.arguments import positive_count
from kfgn_graph.curvature.kronecker import (
    KroneckerFactors,
    damped,
    factor_shifts,
)
from kfgn_graph.linalg.diagonals import inverse_of_vector, is_vector
from kfgn_graph.linalg.newton_schulz import IteratedInverses
from kfgn_graph.solve.base import KeptBlock, PairOfInverses, Parts


@dataclass(frozen=True)
class NewtonSchulz(PairOfInverses):
    r"""Inverses by Newton-Schulz iteration, warm-started from the last ones.

    The iteration :math:`X \leftarrow s X (2 I - s A X)` consists of matrix products only, which
    suit a GPU. It starts from the last inverse if that is near, else from a multiple of the
    identity. The damping of a factor is a lower bound on its eigenvalues
    (:mod:`kfgn_graph.linalg.newton_schulz`).

    Parameters
    ----------
    iterations : int
        The maximal number of iterations. A cold start takes about :math:`\log_4 \kappa + 3`, for
        the condition number :math:`\kappa`.
    tolerance : float, optional
        The iteration stops when :math:`\|I - A X\|_F` is predicted to be at most this, or when
        rounding prevents a step from halving it. By default it is the root of the machine epsilon
        of the dtype.
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
            # X V takes a right inverse X of Q; V Y takes a left inverse Y of G, so that Y^T is a
            # right inverse of it
            q, g = factor_shifts(block.factors, block.gamma)
            if not is_vector(shifted.Q):
                starts.append(block.old["Q"])
                matrices.append(shifted.Q)
                least.append(q)
            starts.append(block.old["G"].T)
            matrices.append(shifted.G)
            least.append(g)
        found = iter(self.inverses(starts, matrices, least))
        parts = []
        for block in blocks:
            Q = _inverse_of_vector(block) if is_vector(block.factors.Q) else next(found)
            parts.append({"Q": Q, "G": next(found).T})
        return parts

    def inverses(
        self,
        starts: Sequence[TensorVariable],
        matrices: Sequence[TensorVariable],
        least: Sequence[TensorVariable],
    ) -> list[TensorVariable]:
        """Return right inverses of symmetric matrices with eigenvalues of at least ``least``."""
        tolerance = self.tolerance or float(np.sqrt(np.finfo(matrices[0].type.dtype).eps))
        op = IteratedInverses(self.iterations, tolerance)
        return op(*starts, *matrices, *least, return_list=True)


def _inverse_of_vector(block: KeptBlock) -> TensorVariable:
    """Return the inverse of a damped diagonal Q, of shape (d,)."""
    shift, _ = factor_shifts(block.factors, block.gamma)
    return inverse_of_vector(block.factors.Q, shift)
