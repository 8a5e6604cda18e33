"""The inverse of the block of a weight read as W and as W^T, a sum of two Kronecker products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.kronecker_sum import DampedBases, damped_bases, sum_solve
from kfgn_graph.curvature.methods.base import KroneckerMethod
from kfgn_graph.errors import SpecError
from kfgn_graph.layers.graph import Layer
from kfgn_graph.solve.base import BlockDamping, Inverse, Parts
from kfgn_graph.solve.cholesky import Cholesky
from kfgn_graph.solve.eigenbasis import Eigenbasis


@dataclass(frozen=True)
class SumBasis(Inverse):
    """The exact inverse of a damped sum of two Kronecker products, by :func:`damped_bases`.

    Its factors are a :class:`~kfgn_graph.KroneckerSum`.
    """

    name = "sum"

    def initial(self, q: int, g: int, dtype: str) -> dict[str, np.ndarray]:
        return {
            "left": np.eye(q, dtype=dtype),
            "right": np.eye(g, dtype=dtype),
            "left_values": np.zeros(q, dtype),
            "right_values": np.zeros(g, dtype),
        }

    def refresh(self, factors: Any, gamma: TensorVariable, old: Parts) -> Parts:
        bases = damped_bases(factors, gamma)
        q, g = factors.Q.type.shape[0], factors.G.type.shape[0]
        return {
            "left": pt.specify_shape(bases.left, (q, q)),
            "right": pt.specify_shape(bases.right, (g, g)),
            "left_values": pt.specify_shape(bases.left_values, (q,)),
            "right_values": pt.specify_shape(bases.right_values, (g,)),
        }

    def apply(self, parts: Parts, V: TensorVariable, damping: BlockDamping) -> TensorVariable:
        return sum_solve(DampedBases(**parts), V)


def strategy_for(strategy: Inverse, is_sum: bool) -> Inverse:
    """Return the strategy for a layer: :class:`SumBasis` for the sum of two products."""
    return SumBasis() if is_sum else strategy


def check_sums(layers: Sequence[Layer], inverse: str | Inverse, method: KroneckerMethod) -> None:
    """Raise :class:`SpecError` if a setting of ``inverse`` cannot invert the layers' sums."""
    strategy = inverse if isinstance(inverse, Inverse) else None
    exact = inverse in ("cholesky", "eigh") or isinstance(strategy, Cholesky)
    exact |= isinstance(strategy, Eigenbasis) and not (strategy.exact or strategy.corrected)
    if layers and not exact:
        name = type(method).__name__
        raise SpecError(
            f"inverse={inverse!r} inverts a single Kronecker product, but the weight of layer "
            f"{layers[0].name} is read as W and as W^T, and its block is a sum of two: use "
            f"inverse='cholesky' or 'eigh', which solve the sum exactly, or "
            f"method={name}(tying='nearest')."
        )
