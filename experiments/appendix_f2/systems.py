"""Gradients, exact Gauss-Newton products and Kronecker factors of a network, compiled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import batched

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.executor import Function
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from experiments.appendix_f2.cases import Array, Case, Data
from experiments.backends import Backend, backend_mode
from experiments.networks import Activation
from experiments.small_networks import compile_in_python
from experiments.training import set_parameter_values
from kfgn_graph.extend import Draws, Method

Product = Callable[[Array], Array]
METHODS: dict[str, Callable[[int], Method]] = {
    "KFRA": lambda _: kfgn.KFRA(),
    "KFLR": lambda _: kfgn.KFLR(),
    "KFAC": lambda samples: kfgn.KFAC(samples=samples),
}


@dataclass(frozen=True)
class Factors:
    """The Kronecker factors of every layer, in the units of the mean loss.

    Attributes
    ----------
    Q, G : list of ndarray
        Of shapes (d_in + 1, d_in + 1) and (d_out, d_out), layer by layer.
    """

    Q: list[Array]
    G: list[Array]

    @property
    def traces(self) -> list[float]:
        """Return the trace of every block Q (x) G."""
        return [float(np.trace(q) * np.trace(g)) for q, g in zip(self.Q, self.G, strict=True)]


class Systems:
    """The compiled functions of one network; vectors over all parameters are flat.

    A vector has W and b of the first layer, then those of the next, each in row-major order: the
    part of a layer is [W; b] of shape (d_in + 1, d_out), row by row. What depends on a batch is
    the mean over it, taken in chunks of examples.

    Parameters
    ----------
    case : Case
        Network and chunks.
    activation : str
        Of the hidden layers.
    in_python : bool
        Whether the functions run Op by Op in Python, which compiles quickly: for tiny networks.
    """

    def __init__(self, case: Case, activation: Activation, in_python: bool = False) -> None:
        self.case, self._in_python = case, in_python
        self._network = network = case.network(activation, case.dtype)
        self.shapes = [
            (weight.get_value(borrow=True).shape[0] + 1, weight.get_value(borrow=True).shape[1])
            for weight in network.parameters[0::2]
        ]
        self._vector = pt.vector("v", dtype=case.dtype)
        self._seed = pt.scalar("seed", dtype="uint32")
        gradient = pytensor.grad(network.loss, list(network.parameters))
        self._gradient = self._compile([], _flat(gradient))
        self._full = self._compile([self._vector], self._products(len(network.parameters)))
        self._blocks = self._compile([self._vector], self._products(2))
        self._factors: dict[str, Function] = {}

    def _compile(
        self, extra: list[TensorVariable], outputs: object, backend: Backend = "auto"
    ) -> Function:
        inputs = [*extra, *self._network.inputs]
        if self._in_python:
            return compile_in_python(inputs, outputs)
        return pytensor.function(
            inputs,
            outputs,
            mode=backend_mode(backend),
            on_unused_input="ignore",
        )

    def _products(self, together: int) -> TensorVariable:
        """Return the products with the diagonal blocks of so many parameters each."""
        parameters, parts = self._network.parameters, self._split_symbolically()
        products = []
        for p, v in zip(batched(parameters, together), batched(parts, together), strict=True):
            graph = kfgn.trace_layers(self._network.loss, p)
            products += kfgn.gauss_newton_product(graph, v)
        return _flat(products)

    def _split_symbolically(self) -> list[TensorVariable]:
        parts, start = [], 0
        for parameter in self._network.parameters:
            shape = parameter.get_value(borrow=True).shape
            end = start + int(np.prod(shape))
            parts.append(self._vector[start:end].reshape(shape))
            start = end
        return parts

    def _compile_factors(self, method: str, samples: int) -> Function:
        graph = kfgn.trace_layers(self._network.loss, self._network.parameters)
        found = kfgn.curvature_factors(graph, METHODS[method](samples), Draws(self._seed))
        outputs = [getattr(found[layer], part) for part in "QG" for layer in graph.layers]
        # In plain functions JAX does without shapes that follow from those of the inputs.
        return self._compile([self._seed], outputs, "auto" if method == "KFRA" else "c")

    def assign(self, parameters: Sequence[Array]) -> None:
        """Set the parameters of the network."""
        set_parameter_values(
            self._network, [value.astype(self.case.dtype) for value in parameters]
        )

    def prepare(self, data: Data) -> Data:
        """Return a batch with its examples in the precision of the measurements."""
        return (data[0].astype(self.case.dtype), *data[1:])

    def gradient(self, batch: Data) -> Array:
        """Return the gradient of the mean loss."""
        return self._mean(lambda part: [self._gradient(*part)], batch, self.case.chunk)[0]

    def product(self, batch: Data, blocks: bool) -> Product:
        """Return the product with the exact Gauss-Newton matrix, or with its layer blocks."""
        function = self._blocks if blocks else self._full

        def multiply(v: Array) -> Array:
            v = v.astype(self.case.dtype)
            return self._mean(lambda part: [function(v, *part)], batch, self.case.chunk)[0]

        return multiply

    def factors(self, name: str, batch: Data, seed: int = 0) -> Factors:
        """Return the factors of an estimate of the case.

        The batch is not divided for KFRA, whose recursion multiplies means over the batch.
        """
        chunk = {"KFRA": len(batch[0]), "KFLR": self.case.column_chunk}
        if name not in self._factors:
            self._factors[name] = self._compile_factors(*self.case.estimates[name])
        function, number = self._factors[name], 0

        def of_part(part: Data) -> list[Array]:
            nonlocal number
            number += 1
            found: list[Array] = function(np.uint32(1000 * seed + number), *part)
            return found

        found = self._mean(of_part, batch, chunk.get(name, self.case.chunk))
        layers = len(self.shapes)
        return Factors(found[:layers], found[layers:])

    @staticmethod
    def _mean(function: Callable[[Data], list[Array]], batch: Data, chunk: int) -> list[Array]:
        count = len(batch[0])
        total: list[Array] = []
        for start in range(0, count, chunk):
            part = tuple(array[start : start + chunk] for array in batch)
            share = len(part[0]) / count
            found = [share * np.asarray(value) for value in function(part)]
            total = found if not total else [a + b for a, b in zip(total, found, strict=True)]
        return total


def _flat(tensors: Sequence[TensorVariable]) -> TensorVariable:
    return pt.concatenate([tensor.ravel() for tensor in tensors])
