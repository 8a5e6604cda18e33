"""The named shared variables that persist between updates, apart from the parameters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytensor
from pytensor.tensor.sharedvar import TensorSharedVariable

from kfgn_graph.curvature.kronecker import KroneckerFactors
from kfgn_graph.layers.graph import Layer, LayerGraph, value_shape
from kfgn_graph.step.hessian_free import HessianFree
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.step_rules import Rescaling


class State:
    """What persists, by name.

    Parameters
    ----------
    graph : LayerGraph
        Gives the layers and the current shapes of the parameters.
    settings : Settings
        Decides what needs to be kept.

    Attributes
    ----------
    variables : dict of str to shared variable
        ``count``, of updates taken; ``failed``, 1 after one that was not; where one may be
        rejected ``watch``, at how many of the next rho is measured in any case, and ``length``,
        the norm of the last one taken; ``draws`` for methods that draw; ``damping`` and
        ``gamma`` where they adapt; ``factors/<layer>/Q`` and ``G``;
        ``inverses/<layer>/...``, the parts of a strategy; ``solution/<parameter>``, where the next
        conjugate gradients start; ``previous/<parameter>``, the last update;
        ``averages/<parameter>``.
    """

    def __init__(self, graph: LayerGraph, settings: Settings) -> None:
        self.variables: dict[str, TensorSharedVariable] = {}
        self._dtype = graph.loss.type.dtype
        self._names = parameter_names(graph)
        self.count = self._new("count", np.int32(0))
        self.failed = self._new("failed", np.int32(0))
        watch = settings.watch
        self.watch = None if watch is None else self._new("watch", np.int32(watch))
        self.length = None if watch is None else self._number("length")
        self.draws = (
            self._new("draws", np.uint32(settings.seed)) if settings.method.random else None
        )
        self.damping = self._number("damping") if settings.damping.adaptive else None
        self.gamma = self._number("gamma") if settings.damping.searched else None
        if isinstance(settings.method, HessianFree):
            self._vector("solution", graph)
        else:
            self._keep_curvature(graph, settings)
        if isinstance(settings.step, Rescaling) and settings.step.momentum:
            self._vector("previous", graph)
        if settings.average_iterates:
            self._vector("averages", graph)

    def _keep_curvature(self, graph: LayerGraph, settings: Settings) -> None:
        for layer in graph.layers:
            q, g = factor_sizes(layer)
            if settings.keeps_factors:
                for factor, size in (("Q", q), ("G", g)):
                    self._new(
                        f"factors/{layer.name}/{factor}", np.zeros((size, size), self._dtype)
                    )
            if settings.keeps_inverses:
                for part, value in settings.strategy.initial(q, g, self._dtype).items():
                    self._new(f"inverses/{layer.name}/{part}", value)

    def _new(self, name: str, value: np.ndarray | np.generic) -> TensorSharedVariable:
        self.variables[name] = pytensor.shared(np.asarray(value), name=name, shape=np.shape(value))
        return self.variables[name]

    def _number(self, name: str) -> TensorSharedVariable:
        """Keep a number that is 0 until the first update sets it."""
        return self._new(name, np.asarray(0, self._dtype))

    def _vector(self, kind: str, graph: LayerGraph) -> None:
        for name, p in zip(self._names, graph.parameters, strict=True):
            self._new(f"{kind}/{name}", np.zeros(value_shape(p), self._dtype))

    def vector(self, kind: str) -> list[TensorSharedVariable]:
        """Return what is kept for each parameter, in their order; empty where nothing is."""
        if f"{kind}/{self._names[0]}" not in self.variables:
            return []
        return [self.variables[f"{kind}/{name}"] for name in self._names]

    def factors(self, layer: Layer) -> KroneckerFactors | None:
        """Return the moving average of a layer's factors, where one is kept."""
        parts = self._of_layer("factors", layer)
        return KroneckerFactors(**parts) if parts else None

    def inverses(self, layer: Layer) -> dict[str, TensorSharedVariable]:
        """Return the parts of a layer's inverse by name; empty where none are kept."""
        return self._of_layer("inverses", layer)

    def _of_layer(self, kind: str, layer: Layer) -> dict[str, TensorSharedVariable]:
        prefix = f"{kind}/{layer.name}/"
        return {
            name.removeprefix(prefix): v
            for name, v in self.variables.items()
            if name.startswith(prefix)
        }


def parameter_names(graph: LayerGraph) -> list[str]:
    """Return a name of its own for each parameter: the user's, or its place."""

    def names() -> Iterator[str]:
        taken: set[str] = set()
        for index, p in enumerate(graph.parameters):
            name = str(p.name or index)
            taken.add(name := name if name not in taken else f"{name}_{index}")
            yield name

    return list(names())


def factor_sizes(layer: Layer) -> tuple[int, int]:
    """Return the sizes of Q and G from the weight's current value."""
    shape = value_shape(layer.weight)
    d_in, d_out = (shape[1], shape[0]) if layer.transposed else (shape[0], int(np.prod(shape[1:])))
    return d_in + (layer.bias is not None), d_out
