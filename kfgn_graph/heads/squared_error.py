"""Squared error: a Gaussian likelihood, whose Hessian is constant in z."""

from __future__ import annotations

from dataclasses import dataclass

from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.diagonal import DiagonalHead
from kfgn_graph.linalg.random import Draws


@dataclass(frozen=True, eq=False)
class SquaredErrorHead(DiagonalHead):
    r"""Squared error :math:`\sum_i w_i (z_i - y_i)^2`, with the Hessian H = diag(2 w)."""

    name = "squared error"
    distribution = "Gaussian"

    def noise(self, draws: Draws, shape: list[TensorVariable | int]) -> TensorVariable:
        return draws.normal(shape, self.output.type.dtype)
