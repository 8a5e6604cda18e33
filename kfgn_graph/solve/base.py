"""The interface of an inverse strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.kronecker import (
    KroneckerFactors,
)
from kfgn_graph.linalg.conditional import choose
from kfgn_graph.linalg.vectors import all_finite

#: The variables that a strategy keeps for one layer, by name.
Parts = dict[str, TensorVariable]


@dataclass(frozen=True)
class BlockDamping:
    r"""What damps one layer's block at an update.

    Attributes
    ----------
    gamma : scalar TensorVariable
        Of the factors.
    shift : scalar TensorVariable
        :math:`\lambda + \eta`, of the block.
    """

    gamma: TensorVariable
    shift: TensorVariable


@dataclass(frozen=True, eq=False)
class KeptBlock:
    """One layer's factors, their gamma, and the old parts of their inverse."""

    factors: KroneckerFactors
    gamma: TensorVariable
    old: Parts


class Inverse(ABC):
    """A strategy for the inverse of a damped Kronecker block."""

    name: ClassVar[str]
    #: Whether a refresh starts from the last parts, which are then always kept.
    warm: ClassVar[bool] = False
    #: Whether the block is damped by lambda itself, so that gamma has no effect.
    exact: bool = False
    #: Whether the block's own eigenvalues replace the products of the factors' (EKFAC).
    corrected: bool = False

    @abstractmethod
    def initial(self, q: int, g: int, dtype: str) -> dict[str, np.ndarray]:
        """Return first values for the parts of a layer with factors of sizes q and g."""

    @abstractmethod
    def refresh(self, factors: KroneckerFactors, gamma: TensorVariable, old: Parts) -> Parts:
        """Return new parts; ``old`` is empty where nothing is kept."""

    def all_refreshed(self, blocks: Sequence[KeptBlock]) -> list[Parts]:
        """Return new parts of every layer."""
        return [self.refresh(block.factors, block.gamma, block.old) for block in blocks]

    def refreshed(
        self, blocks: Sequence[KeptBlock], due: TensorVariable
    ) -> tuple[list[Parts], TensorVariable]:
        """Return new parts of every layer where due and finite, else the old; and if none failed.

        What is not due is not computed. It is one choice for all layers: what two choices ask for
        is computed in any case.
        """
        new: list[TensorVariable] = []
        old: list[TensorVariable] = []
        for block, parts in zip(blocks, self.all_refreshed(blocks), strict=True):
            new += [parts[name] for name in block.old]
            old += block.old.values()
        finite = all_finite(new)
        guarded = [pt.switch(finite, n, o) for n, o in zip(new, old, strict=True)]
        *chosen, finite = choose(due, [*guarded, finite], [*old, ~due])
        values = iter(chosen)
        return [{name: next(values) for name in block.old} for block in blocks], finite

    @abstractmethod
    def apply(self, parts: Parts, V: TensorVariable, damping: BlockDamping) -> TensorVariable:
        """Return the inverse times V, of shape (d_in[+1], d_out)."""


class PairOfInverses(Inverse):
    """A strategy whose parts are the two inverses."""

    def initial(self, q: int, g: int, dtype: str) -> dict[str, np.ndarray]:
        return {"Q": np.eye(q, dtype=dtype), "G": np.eye(g, dtype=dtype)}

    def apply(self, parts: Parts, V: TensorVariable, damping: BlockDamping) -> TensorVariable:
        return KroneckerFactors(parts["Q"], parts["G"]).matmul(V)
