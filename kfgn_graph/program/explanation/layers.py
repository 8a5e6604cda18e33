"""The shapes of a task's layers, and the sizes of their factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import pytensor
from pytensor.graph.traversal import ancestors
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from kfgn_graph.program.task import Task


@dataclass(frozen=True)
class LayerShape:
    """The shape of one affine layer.

    Attributes
    ----------
    name, weight : str
        The names of the layer and of its weight.
    bias : str or None
        The name of the bias, or None.
    inputs, outputs : int
        The widths d_in and d_out.
    positions : int
        The number of positions per example at which the weight is used; 1 without sharing.
    coupled : int
        The number of positions that the loss may couple; their curvature is propagated jointly.
    first : bool
        Whether its input depends on no other layer, so that no curvature propagates below it.
    last : bool
        Whether no other layer depends on it.
    key : str or None
        The name by which its state is stored; None if that is the layer's name.
    """

    name: str
    weight: str
    bias: str | None
    inputs: int
    outputs: int
    positions: int
    coupled: int
    first: bool
    last: bool
    key: str | None = None

    @property
    def q(self) -> int:
        """The width of Q, in which the bias is one more coordinate of the input."""
        return self.inputs + (self.bias is not None)

    @property
    def g(self) -> int:
        """The width of G."""
        return self.outputs

    @property
    def products(self) -> float:
        """The floating-point operations of the affine map, for one example."""
        return 2.0 * self.positions * self.inputs * self.outputs


def layer_shapes(graph: kfgn.LayerGraph, task: Task) -> list[LayerShape]:
    """Return the recognised layers in forward order."""
    uses = {layer: [use for side in layer.sides for use in side.uses] for layer in graph.layers}
    preactivations = {use.preactivation for found in uses.values() for use in found}
    below = {
        layer: preactivations & set(ancestors([use.input for use in found]))
        for layer, found in uses.items()
    }
    read = set().union(*below.values())
    shapes = []
    for layer in graph.layers:
        inputs, outputs = layer.shape
        places = [lengths(use.preactivation, task)[:-1] for use in uses[layer]]
        shared = places[0][graph.example_axes[layer.preactivation] - 1 :]
        shapes.append(
            LayerShape(
                layer.name,
                layer.weight.name or layer.name,
                None if layer.bias is None else layer.bias.name or f"{layer.name} bias",
                inputs,
                outputs,
                sum(prod(n) for n in places),
                prod(shared),
                first=not below[layer],
                last=read.isdisjoint(use.preactivation for use in uses[layer]),
                key=layer.key,
            )
        )
    return shapes


def output_width(graph: kfgn.LayerGraph, task: Task) -> int:
    """Return K, the number of network outputs per example."""
    return prod(lengths(graph.output, task)[graph.example_axes[graph.output] - 1 :])


def lengths(variable: TensorVariable, task: Task) -> tuple[int, ...]:
    """Return the shape of a variable without the leading axis, the batch.

    If the shape is not static, it is computed from two of the task's examples.
    """
    static: Sequence[int | None] = variable.type.shape[1:]
    known = [n for n in static if n is not None]
    return tuple(known if len(known) == len(static) else _computed_shape(variable, task)[1:])


def _computed_shape(variable: TensorVariable, task: Task) -> Sequence[int]:
    """Return the shape of a variable for a batch of two examples."""
    function = pytensor.function(
        list(task.inputs), variable.shape, mode="FAST_COMPILE", on_unused_input="ignore"
    )
    examples: list[Any] = [array[:2] for array in task.arrays[: len(task.inputs)]]
    return [int(n) for n in function(*examples)]
