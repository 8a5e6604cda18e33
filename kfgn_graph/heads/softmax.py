"""Softmax cross-entropy: losses linear in log-softmax(z), or in logsumexp(z) and z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply
from pytensor.graph.traversal import toposort
from pytensor.tensor.special import LogSoftmax, LogSumExp
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.core import Head, size_of
from kfgn_graph.heads.linearity import is_linear
from kfgn_graph.layers.derivatives import grad
from kfgn_graph.linalg.matrices import diagonal, identity
from kfgn_graph.linalg.random import Draws


@dataclass(frozen=True, eq=False)
class SoftmaxHead(Head):
    r"""Cross-entropy of a categorical output with logits z, of shape (N, ..., K).

    The loss is :math:`\sum_r s_r (\log \sum_k e^{z_{rk}} - \sum_k y_{rk} z_{rk})` with
    :math:`\sum_k y_{rk} = 1`. With :math:`p = \mathrm{softmax}(z_r)` its Hessian is
    :math:`H_r = s_r (\mathrm{diag}(p) - p p^T)`, which has a square root with the columns
    :math:`\sqrt{s_r p_k} (e_k - p)`. Both are independent of y. Axes between those of the examples
    and the last one are positions, each with an output of its own: the Hessian of an example
    is block-diagonal over them.

    Attributes
    ----------
    scale : TensorVariable
        s, of shape z.shape[:-1]: the weight of each example in the loss, of either sign.
    """

    scale: TensorVariable

    name = "softmax cross-entropy"
    distribution = "categorical"

    def probabilities(self) -> TensorVariable:
        """Return p, of z's shape."""
        return pt.special.softmax(self.output, axis=-1)

    def _by_position(self, scale: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        """Return p as (R, T, K), and weights of z's leading axes as (R, T)."""
        p = self.probabilities()
        positions = size_of(p, self.example_axes, p.type.ndim - 1)
        p = p.reshape((-1, positions, p.shape[p.type.ndim - 1]))
        return p, scale.reshape((-1, positions))

    def _weights(self) -> TensorVariable:
        """Return s without negative entries: H_r has the sign of s_r."""
        return self.semidefinite(self.scale)

    def hessians(self) -> TensorVariable:
        return self._hessians(self.scale)

    def _hessians(self, scale: TensorVariable) -> TensorVariable:
        p, s = self._by_position(scale)
        outer = p[:, :, :, None] * p[:, :, None, :]
        eye = identity(p.shape[2], p.type.dtype)
        return block_diagonal(s[:, :, None, None] * (p[:, :, :, None] * eye - outer))

    def psd_hessians(self) -> TensorVariable:
        return self._hessians(self._weights())

    def summed_hessian(self) -> TensorVariable:
        p, s = self._by_position(self._weights())
        weighted = s[:, :, None] * p
        if self.output.type.ndim == self.example_axes + 1:
            return diagonal(weighted[:, 0].sum(axis=0)) - weighted[:, 0].T @ p[:, 0]
        eye = identity(p.shape[2], p.type.dtype)
        outer = weighted.dimshuffle(1, 2, 0) @ p.dimshuffle(1, 0, 2)
        blocks = weighted.sum(axis=0)[:, :, None] * eye - outer
        return block_diagonal(blocks[None])[0]

    def square_root(self, start: TensorVariable | int, count: int) -> TensorVariable:
        unit = self.basis(start, count)
        p = self.probabilities()[None]
        chosen = (unit * p).sum(axis=-1, keepdims=True)
        return pt.sqrt(self._weights()[None, ..., None] * chosen) * (unit - p)

    def coordinates(self, gradient: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        # the columns sum_k rho_k sqrt(s p_k) (e_k - p) have the sum 0, as the gradient has
        zero, one = (np.asarray(n, gradient.type.dtype) for n in (0, 1))
        scaled = self._weights()[..., None] * self.probabilities()
        curved = pt.gt(scaled, 0)
        rho = pt.switch(curved, gradient / pt.sqrt(pt.switch(curved, scaled, one)), zero)
        return rho.reshape((-1, rho.shape[-1])).T, pt.switch(curved, zero, gradient)

    def curvature_times(self, direction: TensorVariable) -> TensorVariable:
        weighted = self.probabilities() * direction
        return self._weights()[..., None] * (
            weighted - self.probabilities() * weighted.sum(axis=-1, keepdims=True)
        )

    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        dtype = self.output.type.dtype
        p = self.probabilities()
        lengths = self.lengths()
        u = draws.uniform([samples, *lengths[:-1], 1], dtype)
        below = pt.cumsum(p, axis=-1)[None]
        first = pt.concatenate([pt.zeros_like(below[..., :1]), below[..., :-1]], axis=-1)
        last = pt.concatenate([below[..., :-1], pt.full_like(below[..., :1], 2.0)], axis=-1)
        label = (pt.ge(u, first) & pt.lt(u, last)).astype(dtype)
        return (label - p[None]) * pt.sqrt(self._weights() / np.asarray(samples, dtype))[
            None, ..., None
        ]


def block_diagonal(blocks: TensorVariable) -> TensorVariable:
    """Return the block-diagonal matrices of square blocks: (R, T, K, K) to (R, T K, T K)."""
    T, K = blocks.shape[1], blocks.shape[2]
    placed = blocks[:, :, :, None, :] * identity(T, blocks.type.dtype)[:, None, :, None]
    return placed.reshape((blocks.shape[0], T * K, T * K))


def match_softmax(loss: TensorVariable, z: TensorVariable, example_axes: int) -> Head | None:
    """Return the head of a softmax cross-entropy of logits z, or None if it is another loss."""
    if z.type.ndim <= example_axes:
        return None
    nodes = [
        n
        for n in toposort([loss])
        if isinstance(n.op, LogSoftmax | LogSumExp) and n.inputs[0] is z
    ]
    if (
        len(nodes) != 1
        or not _over_last_axis(nodes[0], z)
        or not _linear_beyond(loss, z, nodes[0])
    ):
        return None
    value = nodes[0].outputs[0]
    weight = grad(loss, value)
    scale = weight if isinstance(nodes[0].op, LogSumExp) else -weight.sum(axis=-1)
    return SoftmaxHead(z, example_axes, loss, scale)


def _over_last_axis(node: Apply, z: TensorVariable) -> bool:
    return node.op.axis is not None and tuple(a % z.type.ndim for a in node.op.axis) == (
        z.type.ndim - 1,
    )


def _linear_beyond(loss: TensorVariable, z: TensorVariable, node: Apply) -> bool:
    """Return whether the loss is linear in the output of ``node`` and in z itself."""
    return is_linear(loss, [node.outputs[0], z])
