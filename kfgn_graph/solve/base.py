"""The interface of inverse strategies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.kronecker import KroneckerFactors
from kfgn_graph.errors import SpecError
from kfgn_graph.linalg.conditional import choose
from kfgn_graph.linalg.vectors import all_finite

#: The arrays by which a strategy represents the inverse of one layer's block, by name.
Parts = dict[str, TensorVariable]


@dataclass(frozen=True)
class BlockDamping:
    r"""The damping of one layer's block at an update.

    Attributes
    ----------
    gamma : scalar TensorVariable
        The damping :math:`\gamma` of the factors, which damps the block by :math:`\gamma^2`.
    shift : scalar TensorVariable
        The damping :math:`\lambda + \eta` of the block itself.
    """

    gamma: TensorVariable
    shift: TensorVariable


@dataclass(frozen=True, eq=False)
class KeptBlock:
    """One layer's factors with the parts of their inverse at the last refresh.

    Attributes
    ----------
    factors : KroneckerFactors
        The factors, which include the newest estimate.
    gamma : scalar TensorVariable
        Their damping.
    old : dict
        The parts at the last refresh.
    """

    factors: KroneckerFactors
    gamma: TensorVariable
    old: Parts


class Inverse(ABC):
    """A strategy for the inverse of a damped Kronecker block."""

    name: ClassVar[str]
    #: Whether a refresh is warm-started from the old parts, which are then always stored.
    warm: ClassVar[bool] = False
    #: Whether the block is damped by lambda itself, so that gamma has no effect.
    exact: bool = False
    #: Whether the block's own eigenvalues replace the products of the factors' (EKFAC).
    corrected: bool = False

    @abstractmethod
    def initial(self, q: int, g: int, dtype: str) -> dict[str, np.ndarray]:
        """Return the initial parts of a layer.

        Parameters
        ----------
        q, g : int
            The sizes of its factors Q and G.
        dtype : str
            The dtype of the parameters.
        """

    def initial_with_vector(self, q: int, g: int, dtype: str) -> dict[str, np.ndarray]:
        """Return the initial parts of a layer with a diagonal Q, which is given by a vector.

        Raises
        ------
        SpecError
            If the strategy has no such parts.
        """
        raise SpecError(
            f"{type(self).__name__} has no inverse of a diagonal factor, which a lookup in a "
            f"large table has: use inverse='cholesky', or implement initial_with_vector."
        )

    @abstractmethod
    def refresh(self, factors: KroneckerFactors, gamma: TensorVariable, old: Parts) -> Parts:
        """Return the parts of one layer.

        Parameters
        ----------
        factors : KroneckerFactors
            The factors, not damped.
        gamma : scalar TensorVariable
            Their damping.
        old : dict
            The parts at the last refresh; empty if parts are not stored.
        """

    def all_refreshed(self, blocks: Sequence[KeptBlock]) -> list[Parts]:
        """Return the parts of all layers, by :meth:`refresh`."""
        return [self.refresh(block.factors, block.gamma, block.old) for block in blocks]

    def refreshed(
        self, blocks: Sequence[KeptBlock], due: TensorVariable
    ) -> tuple[list[Parts], TensorVariable]:
        """Return the parts of all layers, refreshed if a refresh is due.

        There is one lazy choice for all layers, since nodes that two choices share are computed
        even if no refresh is due.

        Parameters
        ----------
        blocks : sequence of KeptBlock
            The layers.
        due : scalar TensorVariable
            Whether a refresh is due, boolean.

        Returns
        -------
        parts : list of dict
            New parts if a refresh is due and all of them are finite, else the old ones.
        finite : scalar TensorVariable
            False if a refresh is due and not all new parts are finite.
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
        """Return the inverse of the damped block times V.

        Parameters
        ----------
        parts : dict
            The parts of the inverse.
        V : TensorVariable
            Of shape (d_in[+1], d_out).
        damping : BlockDamping
            The damping at this update, for strategies that apply it here.

        Returns
        -------
        TensorVariable
            Of the shape of V.
        """


class PairOfInverses(Inverse):
    """A strategy whose parts are the inverses of the two damped factors."""

    def initial(self, q: int, g: int, dtype: str) -> dict[str, np.ndarray]:
        return {"Q": np.eye(q, dtype=dtype), "G": np.eye(g, dtype=dtype)}

    def initial_with_vector(self, q: int, g: int, dtype: str) -> dict[str, np.ndarray]:
        return {"Q": np.ones(q, dtype), "G": np.eye(g, dtype=dtype)}

    def apply(self, parts: Parts, V: TensorVariable, damping: BlockDamping) -> TensorVariable:
        return KroneckerFactors(parts["Q"], parts["G"]).matmul(V)
