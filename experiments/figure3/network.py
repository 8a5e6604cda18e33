r"""The mixture of two binary classifiers, Eq. (27), as an ordinary PyTensor graph.

A network has three logits h, and

.. math:: q = \sigma(h_1) \sigma(h_2) + (1 - \sigma(h_1)) \sigma(h_3)

is the probability that the digit is odd. The loss is its cross-entropy. It is split from the
network at q, where each example's Gauss-Newton matrix has rank one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import toposort
from pytensor.scalar import Sub, Switch
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from kfgn_graph.extend import DiagonalHead, Draws

SIZES = (784, 1000, 500, 250, 30, 3)
Graph = tuple[TensorVariable, list[SharedVariable], list[TensorVariable], TensorVariable]


def mixture(h: TensorVariable) -> TensorVariable:
    """Return the probability q of Eq. (27) from the logits h of shape (N, 3)."""
    gate, first, second = (pt.sigmoid(h[:, i]) for i in range(3))
    return gate * first + (1 - gate) * second


def build_mixture(sizes: Sequence[int], seed: int, dtype: str) -> Graph:
    """Build a tanh network with three logits, its mixture and the cross-entropy.

    The loss of an example is -log(1 - e) with the probability e of the wrong class. Near the
    minimum e is small; where the class is odd it is 1 - q, a multiple of the dtype's rounding
    unit.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the three logits.
    seed : int
        Seed of the weights, uniform by Glorot and Bengio; biases are zero.
    dtype : {"float32", "float64"}
        Data type of parameters and images.

    Returns
    -------
    loss, parameters, inputs, output
        As ``kfgn train`` takes them: the inputs are images and digits, the output is q.
    """
    rng = np.random.default_rng(seed)
    x = pt.matrix("inputs", dtype=dtype, shape=(None, sizes[0]))
    digit = pt.vector("targets", dtype="int64")
    h, parameters = x, []
    for i, (n, m) in enumerate(pairwise(sizes)):
        limit = np.sqrt(6 / (n + m))
        W = pytensor.shared(
            rng.uniform(-limit, limit, (n, m)).astype(dtype), f"W{i}", shape=(n, m)
        )
        b = pytensor.shared(np.zeros(m, dtype), f"b{i}", shape=(m,))
        a = h @ W + b
        h = pt.tanh(a) if i < len(sizes) - 2 else a
        parameters += [W, b]
    q = mixture(h)
    wrong = pt.switch(pt.eq(digit % 2, 1), 1 - q, q)
    return -pt.log1p(-wrong).mean(), parameters, [x, digit], q


def mixture_float32(seed: int) -> Graph:
    """Build the network of Figure 3 in float32."""
    return build_mixture(SIZES, seed, "float32")


def mixture_float64(seed: int) -> Graph:
    """Build the network of Figure 3 in float64."""
    return build_mixture(SIZES, seed, "float64")


@dataclass(frozen=True, eq=False)
class ModelDraws(DiagonalHead):
    r"""The loss at q, with KFAC's draws as in Martens and Grosse: targets from the model.

    A drawn target t gives the column :math:`-(t - q) / (q (1 - q))`, so that KFAC estimates the
    Fisher matrix :math:`1 / (q (1 - q))`. The Gauss-Newton matrix, which KFLR and KFRA use, is
    :math:`1 / (1 - e)^2` instead: the model is not in the exponential family. The package's own
    draws estimate the Gauss-Newton matrix, and with one output they are its square root up to
    the sign, so that KFAC would be KFLR.
    """

    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        q, dtype = self.output, self.output.type.dtype
        drawn = draws.uniform([samples, *self.lengths()], dtype) < q
        one = np.asarray(1, dtype)
        score = pt.switch(drawn, -one / q, one / (one - q))
        count = samples * q.shape[0]
        return score / pt.sqrt(count.astype(dtype))


@kfgn.register_loss_head
def match_mixture(loss: TensorVariable, z: TensorVariable, example_axes: int) -> ModelDraws | None:
    """Return the head of a loss of :func:`build_mixture` at its probability q, else None."""
    for node in toposort([loss]):
        chosen = _operands(node.outputs[0], Switch)
        if chosen and chosen[2] is z and z in _operands(chosen[1], Sub):
            return ModelDraws(z, example_axes, loss)
    return None


def _operands(variable: Variable, scalar_op: type) -> list[Variable]:
    """Return the inputs of an elementwise Op of this type, or nothing."""
    node = variable.owner
    if node is None or not isinstance(node.op, Elemwise):
        return []
    return node.inputs if isinstance(node.op.scalar_op, scalar_op) else []
