"""The Gauss-Newton matrix of a network and its layers' factors by brute force, in float64.

This module knows nothing of the compiler. The Jacobian is made of one reverse pass for each
element of the output, and the Hessian of the loss of one for each element of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import permutations

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.tensor.variable import TensorVariable

from experiments.support.catalogue import Network
from experiments.support.evaluation import evaluated, python_function

Array = np.ndarray
#: The relative difference below which two variables have the same values.
CLOSE = 1e-11


class NotLocated(Exception):
    """Values that no variable of the network's graph has."""


class Judge:
    """The derivatives of a network's loss.

    Parameters
    ----------
    network : Network
    outputs : sequence of TensorVariable, optional
        The variables at which the loss is split from the network, in place of its own.
    """

    def __init__(self, network: Network, outputs: Sequence[TensorVariable] | None = None) -> None:
        self.network = network
        self.outputs = list(network.outputs if outputs is None else outputs)

    def _values(self, variables: Sequence[TensorVariable]) -> list[Array]:
        return evaluated(self.network.inputs, self.network.batch, variables)

    @property
    def at_outputs(self) -> Network:
        """The network, split at the judge's outputs."""
        return replace(self.network, outputs=self.outputs)

    @cached_property
    def loss(self) -> float:
        """The loss on the batch."""
        return float(self._values([self.network.loss])[0])

    @cached_property
    def gradient(self) -> Array:
        """The gradient of the loss in all parameters, of shape (P,)."""
        grads = pytensor.grad(
            self.network.loss, list(self.network.parameters), disconnected_inputs="ignore"
        )
        return _joined(self._values(grads))

    @cached_property
    def _output_values(self) -> list[Array]:
        return self._values(self.outputs)

    @cached_property
    def hessian(self) -> Array:
        """The Hessian of the loss in its M output elements, of shape (M, M)."""
        cut = [_free(value) for value in self._output_values]
        pairs = dict(zip(self.outputs, cut, strict=True))
        loss = graph_replace(self.network.loss, pairs, strict=False)
        first = pytensor.grad(loss, cut, disconnected_inputs="ignore")
        rows = self.pulled(first, cut, dict(zip(cut, self._output_values, strict=True)))
        return (rows + rows.T) / 2

    def gradient_parts(self) -> tuple[Array, Array]:
        """Return the gradient through the outputs, and the rest (penalties, say), each (P,)."""
        cut = [_free(value) for value in self._output_values]
        pairs = dict(zip(self.outputs, cut, strict=True))
        loss = graph_replace(self.network.loss, pairs, strict=False)
        wrt = [*cut, *self.network.parameters]
        grads = pytensor.grad(loss, wrt, disconnected_inputs="ignore")
        values = evaluated(
            [*self.network.inputs, *cut], [*self.network.batch, *self._output_values], grads
        )
        return _joined(values[: len(cut)]) @ self.jacobian, _joined(values[len(cut) :])

    @cached_property
    def semidefinite(self) -> Array:
        """The nearest matrix to the Hessian that has no negative eigenvalue."""
        values, vectors = np.linalg.eigh(self.hessian)
        return (vectors * np.maximum(values, 0)) @ vectors.T

    @cached_property
    def jacobian(self) -> Array:
        """The derivatives of the output elements in all parameters, of shape (M, P)."""
        return self.pulled(self.outputs, list(self.network.parameters), {})

    @cached_property
    def gauss_newton(self) -> Array:
        """The Gauss-Newton matrix, of shape (P, P), parameters row-major and in order."""
        return self.jacobian.T @ self.semidefinite @ self.jacobian

    def pulled(
        self,
        targets: Sequence[TensorVariable],
        wrt: Sequence[TensorVariable],
        given: dict[TensorVariable, Array],
    ) -> Array:
        """Return the derivatives of all elements of ``targets``, by one pass for each."""
        weights = [t.type() for t in targets]
        total = pt.add(0.0, *((w * t).sum() for w, t in zip(weights, targets, strict=True)))
        grads = pytensor.grad(total, list(wrt), disconnected_inputs="ignore")
        function = python_function([*self.network.inputs, *given, *weights], grads)
        shapes = [
            v.shape
            for v in evaluated(
                [*self.network.inputs, *given], [*self.network.batch, *given.values()], targets
            )
        ]
        rows = []
        with pytensor.config.change_flags(cxx=""):
            for k, shape in enumerate(shapes):
                for place in np.ndindex(shape):
                    units = [np.zeros(s) for s in shapes]
                    units[k][place] = 1.0
                    values = function(*self.network.batch, *given.values(), *units)
                    rows.append(_joined(values))
        return np.stack(rows)

    @cached_property
    def _intermediate(self) -> dict[TensorVariable, Array]:
        """The values of all real variables of the graph with at least one axis."""
        found = [
            v
            for v in ancestors([self.network.loss])
            if isinstance(v, TensorVariable)
            and v.owner is not None
            and v.ndim > 0
            and v.dtype == "float64"
        ]
        return dict(zip(found, self._values(found), strict=True))

    def locate(self, value: Array) -> dict[TensorVariable, tuple[int, ...]]:
        """Return the variables with some values, each with the axes that put them in order.

        A variable has the same values if the elements of a permutation of its axes are, in
        row-major order, those of ``value``.
        """
        found = {}
        for v, own in self._intermediate.items():
            if own.size != value.size:
                continue
            for axes in permutations(range(own.ndim)) if own.ndim < 5 else ():
                if _same(own.transpose(axes).ravel(), value.ravel()):
                    found[v] = axes
                    break
        if not found:
            raise NotLocated
        return found

    def split(self, value: Array) -> Judge:
        """Return the judge of a split at variables with some values.

        They are those of one variable or, along the last axis, of several.

        Raises
        ------
        NotLocated
            If the graph has no such variables.
        """
        try:
            return Judge(self.network, [next(iter(self.locate(value)))])
        except NotLocated:
            pass
        outputs, start = [], 0
        rows = value.reshape(-1, value.shape[-1])
        while start < rows.shape[1]:
            for stop in range(rows.shape[1], start, -1):
                try:
                    outputs.append(next(iter(self.locate(rows[:, start:stop]))))
                except NotLocated:
                    continue
                start = stop
                break
            else:
                raise NotLocated
        return Judge(self.network, outputs)

    def factors(self, a: Array, h: Array, W: Array, b: Array | None) -> tuple[Array, Array]:
        """Return Q and G of the layer h = a W + b, every row of h counted as an example.

        Parameters
        ----------
        a, h : (..., d_in) and (..., d_out) arrays
            The input and the pre-activation.
        W, b : (d_in, d_out) and (d_out,) arrays
            The parameters; no bias if None.

        Returns
        -------
        Q : (d_in[+1], d_in[+1]) array
            The mean over the rows of a a^T, with a unit appended for a bias.
        G : (d_out, d_out) array
            The sum over the rows of the Gauss-Newton matrix of the loss in that row of h.

        Raises
        ------
        NotLocated
            If h is not a W + b, or no variable of the graph has the values of h.
        """
        rows = a.reshape(-1, a.shape[-1])
        wanted = rows @ W + (0.0 if b is None else b)
        if wanted.size != h.size or not _same(wanted.ravel(), h.ravel()):
            raise NotLocated
        if b is not None:
            rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        places = self.locate(h)
        cut = pt.vector()
        shapes = {v: self._intermediate[v].shape for v in places}
        pairs = {v: _rearranged(cut, shapes[v], axes, v) for v, axes in places.items()}
        outputs = graph_replace(self.outputs, pairs, strict=False)
        J = self.pulled(outputs, [cut], {cut: h.ravel()})
        J = J.reshape(len(J), len(rows), -1)
        G = np.einsum("mni,mk,knj->ij", J, self.semidefinite, J, optimize=True)
        return rows.T @ rows / len(rows), G


def _free(value: Array) -> TensorVariable:
    """Return a variable without an owner for some values."""
    return pt.tensor(dtype="float64", shape=tuple(1 if n == 1 else None for n in value.shape))


def _rearranged(
    cut: TensorVariable, shape: tuple[int, ...], axes: tuple[int, ...], v: TensorVariable
) -> TensorVariable:
    """Return the elements of ``cut`` in the order of a variable of some shape."""
    moved = cut.reshape([shape[k] for k in axes]).transpose(*np.argsort(axes))
    return pt.specify_shape(moved, tuple(v.type.shape))


def _joined(values: Sequence[Array]) -> Array:
    return np.concatenate([np.ravel(np.asarray(v, "float64")) for v in values])


def _same(found: Array, wanted: Array) -> bool:
    scale = max(float(np.abs(wanted).max()), 1e-3) if wanted.size else 1.0
    return bool(np.abs(found - wanted).max() <= CLOSE * scale)
