"""The table of cases: nets x losses. One row of :data:`CASES` gets every test.

A case knows how to draw its data, to build the PyTensor graph that a user would write
(:func:`build`), and to compute the same in JAX (:func:`jax_output`, :func:`jax_loss`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from tests.languages import PYTENSOR, jax_language
from tests.losses import LOSSES, Loss
from tests.nets import NETS, LayerSpec, Net

PENALTY = 0.3


@dataclass(frozen=True, eq=False)
class Case:
    """A net, a loss, and what else is asked of them.

    Attributes
    ----------
    trained : tuple of int or None
        Which layers are handed over as parameters; None means all.
    penalised : bool
        ``PENALTY / 2`` times the squares of all parameters is added to the loss.
    split_at_output : bool
        The net's output is named by the user, with ``output=``.
    """

    net: Net
    loss: Loss
    trained: tuple[int, ...] | None = None
    penalised: bool = False
    split_at_output: bool = False

    @property
    def name(self) -> str:
        """The row's name, for test ids."""
        extras = "-penalised" if self.penalised else ""
        if self.trained is not None:
            extras += "-trained" + "".join(map(str, self.trained))
        return f"{self.net.name}-{self.loss.name}{extras}"

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """The trained layers, in forward order."""
        every = self.net.layers
        return every if self.trained is None else tuple(every[i] for i in self.trained)

    @property
    def linear(self) -> bool:
        """Kronecker factors are exact at any batch: the curvature is the same at every example."""
        return self.net.linear and self.loss.quadratic and self.loss.name != "weighted"

    def values(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw the parameters, of a size that keeps the activations away from saturation."""
        return {
            name: rng.normal(size=shape) * (0.9 / np.sqrt(shape[0]) if len(shape) == 2 else 0.3)
            for name, shape in self.net.shapes.items()
        }

    def batch(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
        """Draw ``n`` examples: the net's input, then the loss's targets."""
        x = rng.normal(size=(n, *self.net.input_shape))
        return (x, *self.loss.targets(rng, n, self.net.output_shape))


@dataclass(frozen=True)
class Problem:
    """The PyTensor graph of a case: all of the shared variables, and the trained ones."""

    case: Case
    loss: TensorVariable
    output: TensorVariable
    inputs: list[TensorVariable]
    shared: dict[str, TensorSharedVariable]

    @property
    def params(self) -> list[TensorSharedVariable]:
        """The trained parameters, each layer's weight before its bias."""
        names = [n for layer in self.case.layers for n in (layer.weight, layer.bias) if n]
        return [self.shared[name] for name in names]

    @property
    def split(self) -> TensorVariable | None:
        """What a user passes as ``output=``."""
        return self.output if self.case.split_at_output else None

    def set_values(self, values: dict[str, np.ndarray]) -> None:
        """Give the parameters these values, in their own dtype."""
        for name, variable in self.shared.items():
            variable.set_value(values[name].astype(variable.dtype))


def build(
    case: Case,
    values: dict[str, np.ndarray],
    batch_size: int | None = None,
    dtype: str = "float64",
) -> Problem:
    """Build the PyTensor graph as its user would; ``batch_size`` None leaves it unknown."""
    example = case.batch(np.random.default_rng(0), 1)
    inputs = [
        pt.tensor(
            name,
            dtype=dtype if array.dtype.kind == "f" else array.dtype,
            shape=(batch_size, *array.shape[1:]),
        )
        for name, array in zip(("x", "y", "w"), example, strict=False)
    ]
    if case.net.library:
        output, shared = _library_net(case.net, inputs[0])
    else:
        shared = {
            name: pytensor.shared(value.astype(dtype), name=name, shape=value.shape)
            for name, value in values.items()
        }
        output = case.net.forward(PYTENSOR, inputs[0], shared)
    if case.loss.library is not None:
        loss = case.loss.library(output, *inputs[1:])
    else:
        loss = case.loss.forward(PYTENSOR, output, *inputs[1:])
    if case.penalised:
        loss = loss + sum(0.5 * PENALTY * (p**2).sum() for p in shared.values())
    problem = Problem(case, loss, output, inputs, shared)
    problem.set_values(values)
    return problem


def _library_net(net: Net, x: TensorVariable) -> tuple[Any, dict[str, TensorSharedVariable]]:
    """Build a chain net of tanh units from pytensor-ml's layers."""
    from pytensor_ml.layers import Linear

    assert net.chain is not None and set(net.chain) <= {"tanh"}
    shared: dict[str, TensorSharedVariable] = {}
    a = x
    for i, layer in enumerate(net.layers):
        n_in, n_out = net.shapes[layer.weight]
        linear = Linear(f"fc{i}", n_in=n_in, n_out=n_out)
        shared |= {layer.weight: linear.W, str(layer.bias): linear.b}
        a = linear(a)
        if i < len(net.chain):
            a = pt.tanh(a)
    return a, shared


def jax_output(
    net: Net,
    values: dict[str, Any],
    x: Any,
    taps: dict[str, Any] | None = None,
    record: dict[str, tuple[Any, Any]] | None = None,
) -> Any:
    """Compute the net's output in JAX; see :func:`tests.languages.jax_language`."""
    language = jax_language(taps or {}, {} if record is None else record)
    return net.forward(language, x, values)


def jax_loss(loss: Loss, output: Any, *targets: Any) -> Any:
    """Compute the loss of an output in JAX, without the penalty."""
    return loss.forward(jax_language({}, {}), output, *targets)


def _case(net: str, loss: str, **more: Any) -> Case:
    return Case(NETS[net], LOSSES[loss], **more)


CASES: tuple[Case, ...] = (
    # one layer, every loss
    *(
        _case("one_layer", loss.name)
        for loss in LOSSES.values()
        if loss.name not in {"squared_3d", "probability", "column_squared"}
    ),
    # every activation, with losses of all kinds
    _case("one_layer_one_output", "bernoulli"),
    _case("tanh", "half_rows"),
    _case("tanh", "heteroscedastic"),
    _case("tanh", "weighted"),
    _case("tanh_deep", "log_softmax"),
    _case("relu", "rows"),
    _case("relu_switch", "bernoulli"),
    _case("leaky", "labels"),
    _case("leaky_switch", "total"),
    _case("sigmoid", "softmax_naive"),
    _case("clip", "bernoulli_logaddexp"),
    _case("softplus", "poisson"),
    _case("swish", "bernoulli_naive"),
    _case("exp_tanh", "all_elements"),
    _case("elu", "coupled"),
    _case("gelu", "labels_picked"),
    _case("softsign", "log_cosh"),
    _case("cubic", "bernoulli_signed"),
    _case("mixed", "logsumexp"),
    # every way of writing an affine layer
    _case("no_bias", "bernoulli_all"),
    _case("transposed", "half_rows"),
    _case("bias_left", "labels_total"),
    _case("dot", "bernoulli_two_sided"),
    _case("tensordot", "product"),
    _case("row_bias", "softmax_log"),
    _case("einsum", "half_rows"),
    _case("columns", "mean_first"),
    _case("library", "library_labels"),
    _case("library", "library_squared"),
    # linear nets: everything is exact
    _case("linear", "half_rows"),
    _case("linear", "all_elements"),
    _case("linear_no_bias", "total"),
    _case("linear_transposed", "rows"),
    _case("linear_residual", "half_rows"),
    # fan-out and reindexing
    _case("residual", "bernoulli"),
    _case("residual", "half_rows"),
    _case("relu_residual", "labels"),
    _case("two_branches", "half_rows"),
    _case("concatenated", "log_softmax"),
    _case("split", "bernoulli_total"),
    _case("sliced", "rows"),
    _case("gated", "labels_logsumexp"),
    _case("reshaped", "all_elements"),
    _case("pooled", "two_parts"),
    _case("reversed", "bernoulli"),
    _case("maxout", "half_rows"),
    _case("skip_from_input", "softmax_naive"),
    _case("scaled", "bernoulli"),
    _case("column", "column_squared"),
    # the split named by the user; Ops without a structured Jacobian; one weight at many positions
    _case("mixture", "probability", split_at_output=True),
    _case("softmax_inside", "half_rows"),
    _case("normalised_inside", "labels"),
    _case("sequence", "squared_3d"),
    _case("sequence", "all_elements"),
    _case("sequence_of_one", "squared_3d"),
    _case("sequence_to_flat", "bernoulli"),
    # penalties, frozen layers
    _case("tanh", "bernoulli", penalised=True),
    _case("linear", "rows", penalised=True),
    _case("tanh_deep", "half_rows", trained=(0,)),
    _case("tanh_deep", "labels", trained=(3,)),
    _case("tanh_deep", "half_rows", trained=(1, 2)),
)

BY_NAME: dict[str, Case] = {case.name: case for case in CASES}
