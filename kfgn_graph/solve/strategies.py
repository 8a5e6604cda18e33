r"""How the damped block of a layer is inverted: strategies behind one small interface.

A strategy turns factors into *parts* when inverses are refreshed, which is what costs, and
multiplies a gradient with the inverse that the parts stand for at every update.

================  ===============================  ==============================================
strategy          parts                            multiplies V with
================  ===============================  ==============================================
Cholesky          the two inverses                 (Q + pi gamma I)^-1 and (G + gamma / pi I)^-1
NewtonSchulz      the two inverses                 the same, by products alone
Eigenbasis        eigenvalues and eigenvectors     the same; exact: (Q (x) G + (lambda + eta) I)^-1
================  ===============================  ==============================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from typing import ClassVar

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.conditional import choose
from kfgn_graph.step.damping import positive_count
from kfgn_graph.errors import SpecError
from kfgn_graph.curvature.kronecker import (
    KroneckerFactors,
    damped,
    damped_inverses,
    norm_ratio_of,
    shifts_of,
)
from kfgn_graph.linalg.matrices import RefreshedInverse, declared_diagonal
from kfgn_graph.linalg.newton_schulz import IteratedInverses
from kfgn_graph.linalg.vectors import all_finite

#: The variables that a strategy keeps for one layer, by name.
Parts = dict[str, TensorVariable]

#: What a factor's damping is multiplied with where its factorisation failed. An update for which
#: that is not enough is skipped, which raises lambda, and with it gamma, until one succeeds.
RETRY_GROWTH = 1000.0


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


class _PairOfInverses(Inverse):
    """A strategy whose parts are the two inverses."""

    def initial(self, q: int, g: int, dtype: str) -> dict[str, np.ndarray]:
        return {"Q": np.eye(q, dtype=dtype), "G": np.eye(g, dtype=dtype)}

    def apply(self, parts: Parts, V: TensorVariable, damping: BlockDamping) -> TensorVariable:
        return KroneckerFactors(parts["Q"], parts["G"]).matmul(V)


@dataclass(frozen=True)
class Cholesky(_PairOfInverses):
    """Inverses through the factors' Cholesky decompositions, NaN where one fails."""

    name = "cholesky"

    def refresh(self, factors: KroneckerFactors, gamma: TensorVariable, old: Parts) -> Parts:
        return dict(zip("QG", damped_inverses(factors, gamma, RETRY_GROWTH), strict=True))

    def refreshed(
        self, blocks: Sequence[KeptBlock], due: TensorVariable
    ) -> tuple[list[Parts], TensorVariable]:
        # each where the old one is: all of the new beside all of the old would be twice the memory
        inverse, parts, finite = RefreshedInverse(RETRY_GROWTH), [], []
        for block in blocks:
            q, g = shifts_of(block.factors, block.gamma)
            Q, Q_finite = inverse(block.old["Q"], block.factors.Q, q, due)
            G, G_finite = inverse(block.old["G"], block.factors.G, g, due)
            G = declared_diagonal(G) if block.factors.diagonal else G
            parts.append({"Q": Q, "G": G})
            finite += [Q_finite, G_finite]
        return parts, pt.all(pt.stack(finite))


@dataclass(frozen=True)
class NewtonSchulz(_PairOfInverses):
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
            least += shifts_of(block.factors, block.gamma)
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


@dataclass(frozen=True)
class Eigenbasis(Inverse):
    r"""Inverses through the factors' eigenvalues and eigenvectors; gamma may change for free.

    Parameters
    ----------
    exact : bool
        Damp the block exactly, :math:`Q \otimes G + (\lambda + \eta) I`, instead of its factors.
    corrected : bool
        EKFAC: replace the products of the factors' eigenvalues by the block's own second
        moments in their basis (:func:`corrected_eigenvalues`), a moving average like the
        factors', and damp exactly. Needs a method that carries a square root: KFLR or KFAC.
    """

    exact: bool = False
    corrected: bool = False

    name = "eigenbasis"

    def initial(self, q: int, g: int, dtype: str) -> dict[str, np.ndarray]:
        parts: dict[str, np.ndarray] = {}
        for factor, size in (("Q", q), ("G", g)):
            parts[f"{factor}/vectors"] = np.eye(size, dtype=dtype)
            parts[f"{factor}/values"] = np.ones(size, dtype)
        if self.corrected:
            parts["corrected"] = np.zeros((q, g), dtype)
        return parts

    def refresh(self, factors: KroneckerFactors, gamma: TensorVariable, old: Parts) -> Parts:
        parts: Parts = {}
        for factor, matrix in (("Q", factors.Q), ("G", factors.G)):
            values, vectors = pt.linalg.eigh(matrix)
            parts[f"{factor}/vectors"] = pt.specify_shape(vectors, matrix.type.shape)
            parts[f"{factor}/values"] = pt.specify_shape(
                pt.maximum(values, np.asarray(0, matrix.type.dtype)), matrix.type.shape[:1]
            )
        if "corrected" in old:
            left, right = (parts[f"{f}/vectors"].T @ old[f"{f}/vectors"] for f in "QG")
            parts["corrected"] = left**2 @ old["corrected"] @ (right**2).T
        return parts

    def apply(self, parts: Parts, V: TensorVariable, damping: BlockDamping) -> TensorVariable:
        U, W = parts["Q/vectors"], parts["G/vectors"]
        return U @ ((U.T @ V @ W) / self.eigenvalues(parts, damping)) @ W.T

    def eigenvalues(self, parts: Parts, damping: BlockDamping) -> TensorVariable:
        """Return the damped block's eigenvalues, of shape (d_in[+1], d_out)."""
        if self.corrected:
            return parts["corrected"] + damping.shift
        q, g = parts["Q/values"], parts["G/values"]
        if self.exact:
            return q[:, None] * g[None, :] + damping.shift
        pi = norm_ratio_of(q.mean(), g.mean())
        return (q + pi * damping.gamma)[:, None] * (g + damping.gamma / pi)[None, :]


STRATEGIES: dict[str, Inverse] = {
    "cholesky": Cholesky(),
    "newton-schulz": NewtonSchulz(),
    "eigh": Eigenbasis(),
    "exact": Eigenbasis(exact=True),
    "ekfac": Eigenbasis(corrected=True),
}


def strategy_of(inverse: str | Inverse) -> Inverse:
    """Return a strategy by name, or the one given.

    Raises
    ------
    SpecError
        No such strategy.
    """
    if isinstance(inverse, Inverse):
        return inverse
    if inverse not in STRATEGIES:
        raise SpecError(f"inverse={inverse!r} is not one of {tuple(STRATEGIES)}.")
    return STRATEGIES[inverse]
