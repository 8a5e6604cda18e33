"""The named shared variables that persist between updates, apart from the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytensor
from pytensor.tensor.sharedvar import TensorSharedVariable

from kfgn_graph.errors import CurvatureRuleNotFound
from kfgn_graph.layers.graph import DiagonalParameter, Layer, LayerGraph
from kfgn_graph.layers.names import unique_names
from kfgn_graph.printing import name_of, printable
from kfgn_graph.shared_values import cell_of, value_shape


class State:
    """Shared variables by name.

    Parameters
    ----------
    graph : LayerGraph
        Gives the names of layers and parameters.
    initial : mapping of str to ndarray
        The values before the first update. Every rule of a step adds its own: see
        :func:`kfgn_graph.step.initial_state.new_state`.

    Attributes
    ----------
    variables : dict of str to shared variable
        One for each name. A name of the form ``<kind>/<parameter>`` is one part of a vector over
        all parameters, and ``<kind>/<layer>/<part>`` belongs to a layer, by its
        :attr:`Layer.key`.
    """

    def __init__(self, graph: LayerGraph, initial: Mapping[str, np.ndarray]) -> None:
        self.variables: dict[str, TensorSharedVariable] = {
            name: pytensor.shared(np.asarray(value), name=printable(name), shape=np.shape(value))
            for name, value in initial.items()
        }
        self._names = parameter_names(graph)
        keyed: list[Layer | DiagonalParameter] = [*graph.layers, *graph.diagonal]
        self._keys = {_identity(each): each.key for each in keyed}

    def __getitem__(self, name: str) -> TensorSharedVariable:
        """Return the variable of a name, which must be there."""
        return self.variables[name]

    def get(self, name: str) -> TensorSharedVariable | None:
        """Return the variable of a name, or None."""
        return self.variables.get(name)

    def vector(self, kind: str) -> list[TensorSharedVariable]:
        """Return one variable for each parameter, in their order; empty where none are kept."""
        if f"{kind}/{self._names[0]}" not in self.variables:
            return []
        return [self.variables[f"{kind}/{name}"] for name in self._names]

    def of_layer(
        self, kind: str, layer: Layer | DiagonalParameter
    ) -> dict[str, TensorSharedVariable]:
        """Return a layer's variables of one kind, by part; empty where none are kept.

        A layer is known by its weight's storage, since a graph of static shapes has other
        variables with the same storage.
        """
        key = self._keys.get(_identity(layer))
        if key is None:
            raise CurvatureRuleNotFound(
                f"{name_of(layer.weight)} has a block alone for a batch of these shapes, but not "
                "for inputs of unknown shapes: declare the lengths of the inputs' axes that are "
                "always the same, as in pt.tensor('x', shape=(None, 3, 4))."
            )
        prefix = f"{kind}/{key}/"
        return {
            name.removeprefix(prefix): v
            for name, v in self.variables.items()
            if name.startswith(prefix)
        }


def _identity(layer: Layer | DiagonalParameter) -> int:
    """Return a number that layers have in common if their weights share a value."""
    return id(cell_of(layer.weight.container.storage))


def zero_vector(kind: str, graph: LayerGraph) -> dict[str, np.ndarray]:
    """Return zeros of every parameter's shape, named ``<kind>/<parameter>``."""
    dtype = graph.loss.type.dtype
    return {
        f"{kind}/{name}": np.zeros(value_shape(p), dtype)
        for name, p in zip(parameter_names(graph), graph.parameters, strict=True)
    }


def parameter_names(graph: LayerGraph) -> list[str]:
    """Return a unique name for each parameter: the user's, or its index."""
    return unique_names([p.name for p in graph.parameters])


def block_shapes(layer: Layer, is_sum: bool) -> dict[str, tuple[int, ...]]:
    """Return the shape of each factor of a layer's block, by name.

    Parameters
    ----------
    layer : Layer
    is_sum : bool
        Whether the block is a :class:`~kfgn_graph.KroneckerSum`.
    """
    Q, G = factor_shapes(layer)
    shapes = {"Q": Q, "G": G}
    if is_sum:
        d = layer.shape[0]
        shapes |= {"Q_transposed": G, "G_transposed": (d, d)}
    return shapes


def factor_sizes(layer: Layer) -> tuple[int, int]:
    """Return the sizes of Q and G, from the weight's current value."""
    d_in, d_out = layer.shape
    return d_in + (layer.bias is not None), d_out


def factor_shapes(layer: Layer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of Q and G; the diagonal Q of a lookup is a vector."""
    q, g = factor_sizes(layer)
    return (q, q) if layer.index is None else (q,), (g, g)


def largest_matrix(layers: Sequence[Layer]) -> int:
    """Return the length of the largest factor that is a matrix."""
    shapes = [shape for layer in layers for shape in factor_shapes(layer)]
    return max((shape[0] for shape in shapes if len(shape) == 2), default=1)
