r"""The preconditioner of the kernel form: the exact system in the residuals, solved by Cholesky.

With the damping D, which is diagonal, the solution of :math:`(S^T S + D) x = S^T \rho + v` is

.. math:: x = D^{-1} S^T (I + S D^{-1} S^T)^{-1} (\rho - S D^{-1} v) + D^{-1} v.

The part of the gradient that the residuals cause, :math:`S^T \rho`, is not divided by the damping,
so that a small lambda loses no digits. v is the rest: penalties, and the momentum's D times a
direction.
"""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.traversal import ancestors
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.square_root_rows import COLUMNS, ROWS, LayerRows, gram_by
from kfgn_graph.curvature.sweeps import sweep_square_root
from kfgn_graph.layers.derivatives import grads
from kfgn_graph.layers.functions_of_sums import at_current_values
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.conditional import choose
from kfgn_graph.linalg.matrices import shifted_inverse
from kfgn_graph.linalg.vectors import Scalars, Values, all_finite, total
from kfgn_graph.printing import name_of
from kfgn_graph.step.kernel import KernelGaussNewton
from kfgn_graph.step.preconditioners.base import Context, Preconditioner, register_preconditioner
from kfgn_graph.step.preconditioners.kronecker import joined, separated
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import factor_sizes, zero_vector

#: Parts of the output's gradient below this number of its ulps count as zero.
ROUNDING = 64


@register_preconditioner(KernelGaussNewton)
class KernelPreconditioner(Preconditioner):
    """The solution of the damped Gauss-Newton system by the Gram matrix of its square root."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        graph = context.graph
        self._dtype = graph.loss.type.dtype
        root = context.head.square_root(0, context.head.n_outputs)
        columns = sweep_square_root(graph, root)
        self._rows = {layer: LayerRows(graph, layer, columns) for layer in graph.layers}
        self._grams = {layer: rows.gram() for layer, rows in self._rows.items()}
        self._gram = total(list(self._grams.values()))
        trace = pt.trace(self._gram)
        sizes = sum(int(np.prod(factor_sizes(layer))) for layer in graph.layers)
        self.mean_curvature = trace / self._number(sizes)
        self.greatest_block = pt.constant(self._number(0))
        self.least_damping = trace * self._number(np.finfo(self._dtype).eps)
        self.bounding_curvature = pt.constant(self._number(0))
        self.sound = self.sound & all_finite([trace])

    def _number(self, value: float) -> np.ndarray:
        return np.asarray(value, self._dtype)

    @classmethod
    def initial_state(cls, graph: LayerGraph, settings: Settings) -> dict[str, np.ndarray]:
        return zero_vector("solution", graph) if _method(settings).momentum else {}

    @classmethod
    def most_outputs(cls, settings: Settings) -> int:
        return _method(settings).limit

    @classmethod
    def summary(cls, settings: Settings) -> str:
        method = _method(settings)
        return f"system: {method}, by a Cholesky factorisation at every update"

    @classmethod
    def table(
        cls, graph: LayerGraph, settings: Settings
    ) -> tuple[list[tuple[str, ...]], list[str]]:
        head = ("layer", "weight", "bias", "entries of a row", "Gram matrix from")
        rows: list[tuple[str, ...]] = [head]
        for layer in graph.layers:
            bias = "yes" if layer.bias is not None else "no"
            entries = f"{int(np.prod(factor_sizes(layer))):,}"
            rows.append((layer.name, name_of(layer.weight), bias, entries, gram_by(graph, layer)))
        return rows, _costs(graph)

    def direction(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        shift, scales = self._scales(shifts)
        rho, rest = self._divided(gradient)
        offset = self._offset(rest, shifts)
        reached = [rows.times(joined(layer, offset)) for layer, rows in self._rows.items()]
        scaled = [scales[layer] * gram for layer, gram in self._grams.items()] if scales else []
        gram = total(scaled) if scales else self._gram
        y = _solution(gram, shift, total([rho, *(-u for u in reached)]))
        steps = {p: -gradient[p] for p in self.context.graph.unmatched if p in gradient}
        for p, part in self._transposed_times(y, scales).items():
            steps[p] = -part - offset[p]
        if self._previous:
            self.kept |= {self._previous[p]: steps[p] for p in steps}
        return steps

    @property
    def _previous(self) -> Values:
        """The state that holds the last direction; empty without momentum."""
        graph, kept = self.context.graph, self.context.state.vector("solution")
        return dict(zip(graph.parameters, kept, strict=True)) if kept else {}

    def _scales(self, shifts: Scalars) -> tuple[TensorVariable, dict[Layer, TensorVariable]]:
        """Return the least damping of a layer, and its quotient by each; empty if all are one."""
        each = {layer: shifts[layer.weight] for layer in self._rows}
        distinct = list(dict.fromkeys(each.values()))
        if len(distinct) == 1:
            return distinct[0], {}
        least = pt.min(pt.stack(distinct))
        return least, {layer: least / shift for layer, shift in each.items()}

    def _transposed_times(
        self, y: TensorVariable, scales: dict[Layer, TensorVariable] | None = None
    ) -> Values:
        """Return S^T y, each layer's part times its scale."""
        product: Values = {}
        for layer, rows in self._rows.items():
            part = rows.transposed_times(y)
            product |= separated(layer, scales[layer] * part if scales else part)
        return product

    def _divided(self, gradient: Values) -> tuple[TensorVariable, Values]:
        """Return rho, of shape (K, R), and v: the gradient is S^T rho + v."""
        graph, head = self.context.graph, self.context.head
        (by_output,) = grads(at_current_values(graph.data_loss, graph.held), [graph.output])
        rho, outside = head.coordinates(by_output)
        product = self._transposed_times(rho)
        greatest = pt.max(pt.abs(by_output)) * self._number(ROUNDING * np.finfo(self._dtype).eps)
        known = self._penalties(list(product))
        rest = choose(
            pt.gt(pt.max(pt.abs(outside)), greatest),
            [gradient[p] - part for p, part in product.items()],
            [known.get(p, pt.zeros_like(p)) for p in product],
        )
        return rho, dict(zip(product, rest, strict=True))

    def _penalties(self, parameters: list[TensorVariable]) -> Values:
        """Return the gradient of the penalties of each parameter that has one."""
        found: Values = {}
        penalty, l2 = self.context.graph.penalty, self.context.settings.l2
        if penalty is not None:
            read = set(ancestors([penalty]))
            penalised = [p for p in parameters if p in read]
            found = dict(zip(penalised, grads(penalty, penalised), strict=True))
        if l2:
            decay = {p: self._number(l2) * p for p in parameters}
            found = {p: found[p] + v if p in found else v for p, v in decay.items()}
        return found

    def _offset(self, rest: Values, shifts: Scalars) -> Values:
        """Return D^{-1} v, with the momentum in v."""
        momentum = self._number(_method(self.context.settings).momentum)
        offset = {p: v / shifts[p] for p, v in rest.items()}
        return {
            p: v - momentum * self._previous[p] if self._previous else v for p, v in offset.items()
        }


def _method(settings: Settings) -> KernelGaussNewton:
    method: KernelGaussNewton = settings.method  # type: ignore[assignment]
    return method


def _solution(
    gram: TensorVariable, shift: TensorVariable, right: TensorVariable
) -> TensorVariable:
    """Return (S S^T + shift I)^-1 times a vector of shape (K, R); NaN where Cholesky fails."""
    return (shifted_inverse(gram, shift) @ right.reshape((-1, 1))).reshape(right.shape)


def _costs(graph: LayerGraph) -> list[str]:
    """Return lines with the work and memory of an update, for a number of outputs N K."""
    n_bytes, entries = np.dtype(graph.loss.type.dtype).itemsize, 0
    for layer in graph.layers:
        way, (d_in, d_out) = gram_by(graph, layer), layer.shape
        entries += d_in * d_out if way == ROWS else d_out + (way != COLUMNS) * d_in
    lines = []
    for n in (256, 1024, 4096):
        flops, size = n**3 / 3 + n**2 * entries, n_bytes * n**2
        lines.append(
            f"N K = {n:,}: {flops / 1e9:.3g} Gflop for the Gram matrix and its factorisation, "
            f"{size / 2**20:.3g} MiB for the matrix"
        )
    return lines
