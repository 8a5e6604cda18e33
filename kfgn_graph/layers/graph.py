"""The recognised graph of a loss, and its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytensor.graph.basic import Variable
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import (
    SpecError,
)
from kfgn_graph.layers.copies import (
    is_copy,
)
from kfgn_graph.layers.ir import Lookup
from kfgn_graph.layers.views import replayed, shapes_of, steps_of, undone
from kfgn_graph.notebook import html_table
from kfgn_graph.printing import name_of
from kfgn_graph.shared_values import value_shape


@dataclass(frozen=True, eq=False)
class Use:
    """One affine map h = a W + b that reads a layer's weight.

    Attributes
    ----------
    input : TensorVariable
        The activations a, of shape (N, ..., d_in).
    preactivation : TensorVariable
        The pre-activation h, of shape (N, ..., d_out).
    """

    input: TensorVariable
    preactivation: TensorVariable


@dataclass(frozen=True, eq=False)
class Layer:
    """One affine map h = a W + b of the network, or several with the same weight.

    Attributes
    ----------
    name : str
        The weight's name, or ``layer<k>``.
    weight, bias : shared variable
        The user's own parameters; ``bias`` is None if the layer has none.
    input : TensorVariable
        The activations a that the layer reads, of shape (N, ..., d_in). The one-hot rows of a
        lookup are those of :attr:`index`; no update computes them.
    preactivation : TensorVariable
        The pre-activation h, of shape (N, ..., d_out).
    key : str
        The name by which the layer's state is stored, ``<kind>/<key>/<part>``: the layer's name,
        unless that contains ``/``.
    further : tuple of Use
        The affine maps that read the same weight and bias, beside ``input`` and
        ``preactivation``. All of them are positions that share the weight.
    reverse : Layer or None
        The affine maps c W^T that read the weight transposed, as a layer without a bias.
    """

    name: str
    weight: TensorSharedVariable
    bias: TensorSharedVariable | None
    input: TensorVariable
    preactivation: TensorVariable
    key: str
    further: tuple[Use, ...] = ()
    reverse: Layer | None = None

    @property
    def uses(self) -> tuple[Use, ...]:
        """The affine maps that read W, in forward order."""
        return (Use(self.input, self.preactivation), *self.further)

    @property
    def sides(self) -> tuple[Layer, ...]:
        """The layer, and its ``reverse`` if it has one: a Kronecker product belongs to each."""
        return (self,) if self.reverse is None else (self, self.reverse)

    @property
    def matrix(self) -> TensorVariable:
        """W, of shape (d_in, d_out): the weight, transposed if it is stored transposed."""
        return self.preactivation.owner.inputs[1]

    @property
    def read(self) -> TensorVariable:
        """The variable that the affine map reads: the input, or the index of a lookup."""
        return self.preactivation.owner.inputs[0]

    @property
    def index(self) -> TensorVariable | None:
        """The integer index, (N, ...), of a lookup in rows of the weight; None if it is none."""
        node = self.preactivation.owner
        return node.inputs[0] if isinstance(node.op, Lookup) else None

    @property
    def copies(self) -> bool:
        """Whether the layer is a parameter of which every example reads its own copy."""
        return is_copy(self.preactivation)

    @property
    def shape(self) -> tuple[int, int]:
        """(d_in, d_out), from the weight's current value."""
        steps = steps_of(self.matrix, self.weight)
        d_in, d_out = shapes_of(steps, value_shape(self.weight))[-1]
        return d_in, d_out

    def as_matrix(self, value: TensorVariable) -> TensorVariable:
        """Return a value of the weight's shape as the affine map reads it, (d_in, d_out)."""
        return replayed(value, steps_of(self.matrix, self.weight), value_shape(self.weight))

    def as_weight(self, matrix: TensorVariable) -> TensorVariable:
        """Undo :meth:`as_matrix`."""
        return undone(matrix, steps_of(self.matrix, self.weight), value_shape(self.weight))

    @property
    def transposed(self) -> bool:
        """Whether the user stores the weight transposed, as (d_out, d_in)."""
        node = self.matrix.owner
        return node is not None and isinstance(node.op, DimShuffle) and node.op.new_order == (1, 0)

    def __repr__(self) -> str:
        return f"Layer({self.name!r})"


@dataclass(frozen=True, eq=False)
class DiagonalParameter:
    """A parameter outside the layers, of which the diagonal of the curvature is kept.

    Attributes
    ----------
    name : str
        The parameter's name, or ``parameter<k>``.
    weight : shared variable
        The user's own parameter.
    key : str
        The name by which its state is stored, ``factors/<key>/diagonal``.
    reason : str
        Why no layer and no copies hold it.
    readers : tuple of TensorVariable
        The variables in which it first meets values of the examples.
    """

    name: str
    weight: TensorSharedVariable
    key: str
    reason: str
    readers: tuple[TensorVariable, ...]

    def __repr__(self) -> str:
        return f"DiagonalParameter({self.name!r})"


@dataclass(frozen=True, eq=False)
class LayerGraph:
    """A loss in the intermediate representation, over the user's own inputs and parameters.

    Attributes
    ----------
    loss : TensorVariable
        The scalar loss, the sum of ``data_loss`` and ``penalty``.
    data_loss : TensorVariable
        The terms that depend on the layers' outputs.
    penalty : TensorVariable or None
        The terms that depend on parameters alone.
    parameters : tuple of shared variables
        The parameters to train, in the user's order.
    layers : tuple of Layer
        The layers, in forward order.
    output : TensorVariable
        The variable z at which the loss is split from the network.
    candidates : tuple of TensorVariable
        The variables at which the loss can be split, nearest to the network first.
    example_axes : mapping
        For each variable that depends on the layers, the number of leading axes that
        enumerate examples (0 after a sum over the examples).
    unmatched : mapping of parameter to str
        The parameters that belong to no layer, each with the reason.
    unmatched_treatment : {'error', 'gradient', 'freeze'}
        How those parameters are treated; see :func:`trace_layers`.
    surrogate : Surrogate or None
        The matrix that takes the place of the loss's Hessian; see :func:`trace_layers`.
    held : mapping
        Variables of ``data_loss`` that its curvature holds constant, with their values: the
        derivatives of a function of sums over the examples, such as a root mean squared error.
    statistics : tuple of TensorVariable
        The statistics of the batch that the curvature holds constant. No derivative flows through
        them in ``data_loss`` and ``output``; the gradient of ``loss`` includes them.
    diagonal : tuple of DiagonalParameter
        The parameters that belong to no layer and have the diagonal of the Gauss-Newton matrix as
        their curvature.
    """

    loss: TensorVariable
    data_loss: TensorVariable
    penalty: TensorVariable | None
    parameters: tuple[TensorSharedVariable, ...]
    layers: tuple[Layer, ...]
    output: TensorVariable
    candidates: tuple[TensorVariable, ...]
    example_axes: Mapping[Variable, int]
    unmatched: Mapping[Variable, str]
    unmatched_treatment: str
    surrogate: Any = None
    held: Mapping[Variable, TensorVariable] = field(default_factory=dict)
    statistics: tuple[TensorVariable, ...] = ()
    diagonal: tuple[DiagonalParameter, ...] = ()

    @property
    def sources(self) -> list[TensorVariable]:
        """The variables in which parameters first meet values of the examples."""
        return [*preactivations(self.layers), *(v for each in self.diagonal for v in each.readers)]

    @property
    def sides(self) -> tuple[Layer, ...]:
        """The sides of all layers; see :attr:`Layer.sides`."""
        return tuple(side for layer in self.layers for side in layer.sides)

    def _repr_html_(self) -> str:
        """Return a table of the layers, for a notebook."""
        rows = [
            (
                layer.name,
                name_of(layer.weight),
                "" if layer.bias is None else name_of(layer.bias),
                f"{layer.shape[0]} to {layer.shape[1]}",
            )
            for layer in self.layers
        ]
        notes = [
            f"{name_of(p)}: {self.unmatched_treatment}, since {reason}"
            for p, reason in self.unmatched.items()
        ]
        title = f"LayerGraph: {name_of(self.loss)}, split at {name_of(self.output)}"
        return html_table(title, ("layer", "weight", "bias", "widths"), rows, notes)


def preactivations(layers: Sequence[Layer]) -> list[TensorVariable]:
    """Return the pre-activations of all affine maps of some layers."""
    sides = [side for layer in layers for side in layer.sides]
    return [use.preactivation for side in sides for use in side.uses]


def check_graph(graph: object) -> None:
    """Raise :class:`SpecError` unless ``graph`` is a :class:`LayerGraph`."""
    if not isinstance(graph, LayerGraph):
        raise SpecError(
            f"graph={graph!r} is no LayerGraph: pass what trace_layers(loss, params) returned."
        )
