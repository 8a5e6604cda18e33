"""Losses that sum a function of one output at a time: diagonal Hessians.

The loss is recognised by what it *is*, not by how it is written: its elementwise terms
are cut out of the graph and their second derivative is evaluated at probe points. A
second derivative that does not depend on z is a squared error (Gaussian); one that is
proportional to sigma(z) (1 - sigma(z)) is a cross-entropy from logits (Bernoulli).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode
from pytensor.gradient import grad
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.reshape import JoinDims
from pytensor.tensor.shape import Reshape
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.random import Draws
from kfgn_graph.heads.core import Head, rows
from kfgn_graph.heads.linearity import is_linear
from kfgn_graph.layers.traversal import dependents
from kfgn_graph.linalg.matrices import diagonal, identity
from kfgn_graph.linalg.vectors import total

N_PROBES = 16
PROBE_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class DiagonalHead(Head):
    """Any loss that is a sum over single outputs: H_r = diag(second derivatives).

    Negative second derivatives are set to zero in the PSD version, which is the nearest
    positive semi-definite matrix.
    """

    name = "elementwise"

    def second_derivatives(self) -> TensorVariable:
        """Return d^2 loss / dz^2, of z's shape."""
        return diagonal_hessian(self.loss, self.output)

    def weights(self) -> TensorVariable:
        """Return the second derivatives with negative ones set to zero."""
        return pt.maximum(self.second_derivatives(), np.asarray(0, self.output.type.dtype))

    def hessians(self) -> TensorVariable:
        return batched_diagonal(rows(self.second_derivatives(), self.example_axes))

    def psd_hessians(self) -> TensorVariable:
        return batched_diagonal(rows(self.weights(), self.example_axes))

    def summed_hessian(self) -> TensorVariable:
        total = rows(self.weights(), self.example_axes).sum(axis=0)
        return diagonal(total)

    def square_root(self, start: TensorVariable | int, count: int) -> TensorVariable:
        return self.basis(start, count) * pt.sqrt(self.weights())[None]

    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        noise = self.noise(draws, [samples, *self.lengths()])
        return noise * (pt.sqrt(self.weights()) / np.sqrt(samples).astype(self.output.dtype))[None]

    def curvature_times(self, direction: TensorVariable) -> TensorVariable:
        return self.weights() * direction

    def noise(self, draws: Draws, shape: list[TensorVariable | int]) -> TensorVariable:
        """Return independent numbers of mean 0 and variance 1: here +-1."""
        return draws.signs(shape, self.output.type.dtype)


@dataclass(frozen=True, eq=False)
class SquaredErrorHead(DiagonalHead):
    r"""Squared error, :math:`\sum_i w_i (z_i - y_i)^2`: Gaussian, H = diag(2 w), constant in z."""

    name = "squared error"
    distribution = "Gaussian"

    def weights(self) -> TensorVariable:
        return self.second_derivatives()

    def noise(self, draws: Draws, shape: list[TensorVariable | int]) -> TensorVariable:
        return draws.normal(shape, self.output.type.dtype)


@dataclass(frozen=True, eq=False)
class BernoulliHead(DiagonalHead):
    r"""Cross-entropy of independent Bernoulli outputs from their logits z.

    loss :math:`= \sum_i w_i (\log(1 + e^{z_i}) - y_i z_i)`, gradient :math:`w (p - y)` and
    :math:`H = \mathrm{diag}(w\, p (1 - p))` with :math:`p = \sigma(z)`, free of y.
    """

    scale: TensorVariable

    name = "Bernoulli cross-entropy"
    distribution = "Bernoulli"

    def second_derivatives(self) -> TensorVariable:
        p = pt.sigmoid(self.output)
        return self.scale * p * (1 - p)

    def weights(self) -> TensorVariable:
        return self.second_derivatives()

    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        dtype = self.output.type.dtype
        p = pt.sigmoid(self.output)[None]
        y = pt.lt(draws.uniform([samples, *self.lengths()], dtype), p).astype(dtype)
        return (p - y) * pt.sqrt(self.scale / np.asarray(samples, dtype))


def batched_diagonal(d: TensorVariable) -> TensorVariable:
    """Return diag(d_r) for each row: (R, K) to (R, K, K)."""
    return d[:, :, None] * identity(d.shape[1], d.type.dtype)[None]


def diagonal_hessian(loss: TensorVariable, z: TensorVariable) -> TensorVariable:
    """Return the diagonal of an elementwise loss's Hessian, of z's shape."""
    first = grad(loss, z)
    second = grad(first.sum(), z, disconnected_inputs="ignore")
    return second * pt.ones_like(z)


@dataclass(frozen=True, eq=False)
class ElementwiseTerm:
    """One elementwise term e(z, ...) of a loss, and how it was cut out."""

    value: TensorVariable
    nodes: tuple[Apply, ...]


def elementwise_terms(loss: TensorVariable, z: TensorVariable) -> list[ElementwiseTerm] | None:
    """Cut ``loss`` into elementwise terms of z under sums; return None if it has another form."""
    varying = dependents([loss], [z])
    aligned: set[Variable] = {z}
    nodes: list[Apply] = []
    terms: list[Variable] = []
    for node in toposort([loss]):
        if not any(v in varying for v in node.outputs) or node.outputs[0] is z:
            continue
        reads = [v for v in node.inputs if v in varying]
        if all(v in aligned for v in reads) and _keeps_alignment(node, reads):
            aligned.add(node.outputs[0])
            nodes.append(node)
        else:
            terms.extend(v for v in reads if v in aligned and v not in terms)
            if isinstance(node.op, Elemwise) and len(reads) > sum(v in aligned for v in reads) > 0:
                return None
    if not terms or not is_linear(loss, terms):
        return None
    region = _with_preludes(loss, nodes, varying)
    return [ElementwiseTerm(term, region) for term in terms]


def _with_preludes(
    loss: TensorVariable, nodes: list[Apply], varying: Collection[Variable]
) -> tuple[Apply, ...]:
    """Add the elementwise nodes, such as 1 - y, that prepare what the region reads."""
    wanted = set(nodes)
    pending = [v for node in nodes for v in node.inputs if v not in varying]
    while pending:
        node = pending.pop().owner
        if node is not None and node not in wanted and isinstance(node.op, Elemwise):
            wanted.add(node)
            pending.extend(node.inputs)
    return tuple(node for node in toposort([loss]) if node in wanted)


def _keeps_alignment(node: Apply, reads: list[Variable]) -> bool:
    """Whether the node works entry by entry, or flattens all entries to a vector."""
    out = node.outputs[0].type
    if isinstance(node.op, Elemwise):
        return all(v.type.broadcastable == out.broadcastable for v in reads)
    return isinstance(node.op, Reshape | JoinDims) and out.ndim == 1


def match_elementwise(loss: TensorVariable, z: TensorVariable, example_axes: int) -> Head | None:
    """Return the head of an elementwise loss, recognised by its second derivative, or None."""
    terms = elementwise_terms(loss, z)
    if terms is None:
        return None
    found = [_probe(term, z) for term in terms]
    if all(kind in ("none", "constant") for kind, _ in found) and (
        "constant" in {k for k, _ in found}
    ):
        return SquaredErrorHead(z, example_axes, loss)
    if all(kind in ("none", "logistic") for kind, _ in found) and (
        "logistic" in {k for k, _ in found}
    ):
        scales = [
            grad(loss, term.value) * np.asarray(c, z.type.dtype)
            for term, (kind, c) in zip(terms, found, strict=True)
            if kind == "logistic"
        ]
        return BernoulliHead(z, example_axes, loss, total(scales))
    return DiagonalHead(z, example_axes, loss)


def _probe(term: ElementwiseTerm, z: TensorVariable) -> tuple[str, float]:
    """Classify a term's second derivative: ('none' | 'constant' | 'logistic' | 'other', factor).

    The factor is that of sigma(z) (1 - sigma(z)) for 'logistic'.
    """
    if term.value is z:
        return "none", 0.0
    points, at = _probe_values(z, seed=1)
    curvature = [_second_derivative(term, z, at, seed) for seed in (2, 3)]
    if any(not np.all(np.isfinite(c)) for c in curvature):
        return "other", 0.0
    spread = max(np.ptp(c) for c in curvature)
    size = max(np.abs(c).max() for c in curvature)
    if size < PROBE_TOLERANCE:
        return "none", 0.0
    if _constant_in_z(term, z):
        return "constant", 0.0
    logistic = np.exp(-points) / (1 + np.exp(-points)) ** 2
    ratios = np.concatenate([(c / logistic).ravel() for c in curvature])
    if np.ptp(ratios) < PROBE_TOLERANCE * np.abs(ratios).max() and spread > PROBE_TOLERANCE * size:
        return "logistic", float(np.median(ratios))
    return "other", 0.0


def _probe_values(variable: Variable, seed: int) -> tuple[np.ndarray, TensorVariable]:
    rng = np.random.default_rng(seed)
    shape = (N_PROBES,)
    if variable.type.dtype == "bool":
        values = rng.integers(0, 2, shape).astype(bool)
    elif "int" in variable.type.dtype:
        values = rng.integers(1, 4, shape)
    elif seed == 1:
        values = np.linspace(-2.3, 2.1, N_PROBES)
    else:
        values = rng.uniform(0.1, 0.9, shape)
    return values, pt.constant(values)


def _second_derivative(
    term: ElementwiseTerm,
    z: TensorVariable,
    at: TensorVariable,
    seed: int,
    hold_leaves: bool = False,
) -> np.ndarray:
    """Evaluate e''(z) at probe points, with random values for whatever else the term reads."""
    probe = at.type()
    replacements: dict[Variable, Variable] = {z: probe}
    for leaf in _leaves(term, z):
        values, constant = _probe_values(leaf, seed)
        if hold_leaves:
            constant = pt.constant(np.full_like(values, values[0]))
        replacements[leaf] = constant
    e = _rebuilt(term, replacements)
    first = grad(e.sum(), probe, disconnected_inputs="ignore")
    second = grad(first.sum(), probe, disconnected_inputs="ignore")
    mode = Mode(linker="py", optimizer=None)
    return np.asarray(
        pytensor.function([probe], second + pt.zeros_like(probe), mode=mode)(at.data)
    )


def _constant_in_z(term: ElementwiseTerm, z: TensorVariable) -> bool:
    """Whether e'' is the same at all z when everything else is held."""
    _, at = _probe_values(z, seed=1)
    held = _second_derivative(term, z, at, seed=2, hold_leaves=True)
    return bool(np.ptp(held) <= PROBE_TOLERANCE * np.abs(held).max())


def _leaves(term: ElementwiseTerm, z: Variable) -> list[Variable]:
    made = {node.outputs[0] for node in term.nodes} | {z}
    entrywise = [node for node in term.nodes if isinstance(node.op, Elemwise)]
    read = dict.fromkeys(v for node in entrywise for v in node.inputs)
    return [
        v for v in read if v not in made and not (isinstance(v, Constant) and v.data.size == 1)
    ]


def _rebuilt(term: ElementwiseTerm, replacements: dict[Variable, Variable]) -> TensorVariable:
    """Rebuild the term in double precision over its replaced leaves."""
    memo: dict[Variable, Variable] = dict(replacements)
    for node in term.nodes:
        if isinstance(node.op, Elemwise):
            inputs = [memo[v] if v in memo else _as_double(v) for v in node.inputs]
            memo[node.outputs[0]] = node.op(*inputs)
        else:
            memo[node.outputs[0]] = memo[node.inputs[0]]
    return memo[term.value]


def _as_double(constant: Constant) -> Variable:
    if constant.type.dtype.startswith("float"):
        return pt.constant(constant.data.astype("float64"))
    return constant
