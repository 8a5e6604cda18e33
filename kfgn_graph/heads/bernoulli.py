"""Bernoulli cross-entropy of logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.diagonal import DiagonalHead
from kfgn_graph.linalg.random import Draws


@dataclass(frozen=True, eq=False)
class BernoulliHead(DiagonalHead):
    r"""Cross-entropy of independent Bernoulli outputs with logits z.

    The loss is :math:`\sum_i w_i (\log(1 + e^{z_i}) - y_i z_i)`, its gradient :math:`w (p - y)`
    and its Hessian :math:`H = \mathrm{diag}(w\, p (1 - p))`, with :math:`p = \sigma(z)`. H does
    not depend on y.

    Attributes
    ----------
    scale : TensorVariable
        The weight w of the outputs in the loss, of either sign.
    """

    scale: TensorVariable

    name = "Bernoulli cross-entropy"
    distribution = "Bernoulli"

    def second_derivatives(self) -> TensorVariable:
        p = pt.sigmoid(self.output)
        return self.scale * p * (1 - p)

    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        dtype = self.output.type.dtype
        p = pt.sigmoid(self.output)[None]
        y = pt.lt(draws.uniform([samples, *self.lengths()], dtype), p).astype(dtype)
        return (p - y) * pt.sqrt(self.semidefinite(self.scale) / np.asarray(samples, dtype))
