"""Inverses in the eigenbasis of the factors, with factored or exact damping, and EKFAC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.kronecker import (
    KroneckerFactors,
    damping_split_of_means,
)
from kfgn_graph.linalg.diagonals import is_vector
from kfgn_graph.solve.base import BlockDamping, Inverse, Parts


@dataclass(frozen=True)
class Eigenbasis(Inverse):
    r"""Inverses in the eigenbasis of the factors; a new gamma needs no new factorisation.

    Parameters
    ----------
    exact : bool
        Whether to damp the block exactly, :math:`Q \otimes G + (\lambda + \eta) I`, instead of
        its factors.
    corrected : bool
        Whether to replace the products of the factors' eigenvalues by the diagonal of the block
        in the eigenbasis (EKFAC, :func:`~kfgn_graph.curvature.kronecker.corrected_eigenvalues`),
        as a moving average, and to damp exactly. Needs a method that propagates a square root:
        KFLR or KFAC.
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

    def initial_with_vector(self, q: int, g: int, dtype: str) -> dict[str, np.ndarray]:
        parts = self.initial(1, g, dtype)
        del parts["Q/vectors"]  # the identity
        parts["Q/values"] = np.ones(q, dtype)
        if self.corrected:
            parts["corrected"] = np.zeros((q, g), dtype)
        return parts

    def refresh(self, factors: KroneckerFactors, gamma: TensorVariable, old: Parts) -> Parts:
        parts: Parts = {}
        for factor, matrix in (("Q", factors.Q), ("G", factors.G)):
            zero = np.asarray(0, matrix.type.dtype)
            if is_vector(matrix):
                parts[f"{factor}/values"] = pt.maximum(matrix, zero)
                continue
            values, vectors = pt.linalg.eigh(matrix)
            parts[f"{factor}/vectors"] = pt.specify_shape(vectors, matrix.type.shape)
            parts[f"{factor}/values"] = pt.specify_shape(
                pt.maximum(values, zero), matrix.type.shape[:1]
            )
        if "corrected" in old:
            kept = old["corrected"]
            if "Q/vectors" in parts:
                kept = (parts["Q/vectors"].T @ old["Q/vectors"]) ** 2 @ kept
            parts["corrected"] = kept @ ((parts["G/vectors"].T @ old["G/vectors"]) ** 2).T
        return parts

    def apply(self, parts: Parts, V: TensorVariable, damping: BlockDamping) -> TensorVariable:
        U, W = parts.get("Q/vectors"), parts["G/vectors"]
        if U is None:
            return ((V @ W) / self.eigenvalues(parts, damping)) @ W.T
        return U @ ((U.T @ V @ W) / self.eigenvalues(parts, damping)) @ W.T

    def eigenvalues(self, parts: Parts, damping: BlockDamping) -> TensorVariable:
        """Return the eigenvalues of the damped block, of shape (d_in[+1], d_out)."""
        if self.corrected:
            return parts["corrected"] + damping.shift
        q, g = parts["Q/values"], parts["G/values"]
        if self.exact:
            return q[:, None] * g[None, :] + damping.shift
        pi = damping_split_of_means(q.mean(), g.mean())
        return (q + pi * damping.gamma)[:, None] * (g + damping.gamma / pi)[None, :]
