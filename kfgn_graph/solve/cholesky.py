"""Inverses by Cholesky factorisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.kronecker import (
    KroneckerFactors,
    all_factor_shifts,
    damped_inverses,
)
from kfgn_graph.linalg.diagonals import is_vector, refreshed_inverse_of_vector
from kfgn_graph.linalg.matrices import RefreshedInverse, declared_diagonal
from kfgn_graph.solve.base import KeptBlock, PairOfInverses, Parts

#: The factor that multiplies a shift if the factorisation with it fails. If the second attempt
#: fails too the update is skipped, which raises lambda and with it gamma.
RETRY_GROWTH = 1000.0


@dataclass(frozen=True)
class Cholesky(PairOfInverses):
    """Inverses by Cholesky factorisation of the damped factors, NaN if it fails."""

    name = "cholesky"

    def refresh(self, factors: KroneckerFactors, gamma: TensorVariable, old: Parts) -> Parts:
        return dict(zip("QG", damped_inverses(factors, gamma, RETRY_GROWTH), strict=True))

    def refreshed(
        self, blocks: Sequence[KeptBlock], due: TensorVariable
    ) -> tuple[list[Parts], TensorVariable]:
        # each inverse is refreshed in place; one choice for all would hold both sets in memory
        inverse, parts, finite = RefreshedInverse(RETRY_GROWTH), [], []
        shifts = all_factor_shifts([b.factors for b in blocks], [b.gamma for b in blocks])
        for block, (q, g) in zip(blocks, shifts, strict=True):
            old, factor = block.old["Q"], block.factors.Q
            if is_vector(factor):
                Q, Q_finite = refreshed_inverse_of_vector(old, factor, q, due, RETRY_GROWTH)
            else:
                Q, Q_finite = inverse(old, factor, q, due)
            G, G_finite = inverse(block.old["G"], block.factors.G, g, due)
            G = declared_diagonal(G) if block.factors.diagonal else G
            parts.append({"Q": Q, "G": G})
            finite += [Q_finite, G_finite]
        return parts, pt.all(pt.stack(finite))
