"""Add a loss head for the negative log-likelihood of Cauchy noise."""

from dataclasses import dataclass

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.traversal import toposort
from pytensor.scalar import Log1p, Sqr, Sub
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from kfgn_graph.extend import DiagonalHead, is_linear


# --- head: the curvature of the loss in its output
@dataclass(frozen=True, eq=False)
class CauchyHead(DiagonalHead):
    r"""The loss :math:`\sum_i w_i \log(1 + (z_i - y_i)^2)`, with the Fisher information w / 2."""

    scale: TensorVariable

    name = "Cauchy"
    distribution = "Cauchy"

    def weights(self):
        return self.scale / 2

    def sampled(self, draws, samples):
        u = draws.uniform([samples, *self.lengths()], self.output.type.dtype)
        residual = pt.tan(np.pi * (u - 0.5))
        gradient = 2 * residual / (1 + pt.sqr(residual))
        return gradient * pt.sqrt(self.scale / samples)


# --- matcher: how it is recognised
def operands(variable, scalar_op):
    """Return the inputs of an elementwise Op of this type, or nothing."""
    node = variable.owner
    if node is None or not isinstance(node.op, Elemwise):
        return []
    return node.inputs if isinstance(node.op.scalar_op, scalar_op) else []


@kfgn.register_loss_head
def match_cauchy(loss, z, example_axes):
    for node in toposort([loss]):
        term = node.outputs[0]
        residuals = [r for square in operands(term, Log1p) for r in operands(square, Sqr)]
        if any(z in operands(r, Sub) for r in residuals) and is_linear(loss, [term]):
            return CauchyHead(z, example_axes, loss, pytensor.grad(loss, term))
    return None


# --- check: the head is found, and its sampled columns have its curvature
rng = np.random.default_rng(0)
x, y = pt.matrix("x", shape=(None, 3)), pt.matrix("y", shape=(None, 2))
W = pytensor.shared(rng.normal(size=(3, 2)), name="W", shape=(3, 2))
loss = pt.log1p(pt.sqr(x @ W - y)).sum(axis=1).mean()

graph = kfgn.trace_layers(loss, [W])
(layer,) = graph.layers
exact = kfgn.curvature_factors(graph, kfgn.KFLR())[layer].G
sampled = kfgn.curvature_factors(graph, kfgn.KFAC(samples=1000))[layer].G
factors = pytensor.function([x, y], [exact, sampled], on_unused_input="ignore")
by_kflr, by_kfac = factors(rng.normal(size=(50, 3)), rng.normal(size=(50, 2)))
np.testing.assert_allclose(by_kflr, np.eye(2) / 2, rtol=1e-10)
np.testing.assert_allclose(by_kfac, by_kflr, atol=0.02)
print(f"curvature of the first output: exact {by_kflr[0, 0]:.2f}, sampled {by_kfac[0, 0]:.2f}")
