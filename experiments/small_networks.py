"""Multilayer perceptrons of a few units, in float64, for studies of curvature itself.

They compile Op by Op in Python, which takes a second; the widths are those of the parameters that
are assigned, so that one compiled function serves networks of many sizes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import pushforward
from pytensor.graph.replace import vectorize_graph
from pytensor.tensor.special import log_softmax
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn

Activation = Callable[[TensorVariable], TensorVariable]

ACTIVATIONS: dict[str, Activation] = {
    "relu": lambda h: pt.maximum(h, 0.0),
    "leaky": lambda h: pt.maximum(0.1 * h, h),
    "abs": pt.abs,
    "hard-tanh": lambda h: pt.clip(h, -1.0, 1.0),
    "tanh": pt.tanh,
}
"""Activations; ``leaky`` is the max(0.1x, x) of the paper."""
KINKS = {"relu": (0.0,), "leaky": (0.0,), "abs": (0.0,), "hard-tanh": (-1.0, 1.0), "tanh": ()}
"""Pre-activations at which each activation has no derivative."""
PIECEWISE_LINEAR = tuple(name for name, kinks in KINKS.items() if kinks)

LOSSES: dict[str, Callable[[TensorVariable, TensorVariable], TensorVariable]] = {
    "squared": lambda h, y: 0.5 * ((h - y) ** 2).sum(axis=1),
    "bernoulli": lambda h, y: (pt.softplus(h) - y * h).sum(axis=1),
    "softmax": lambda h, y: -(y * log_softmax(h, axis=1)).sum(axis=1),
    "poisson": lambda h, y: (pt.exp(h) - y * h).sum(axis=1),
    "cauchy": lambda h, y: pt.log1p((h - y) ** 2).sum(axis=1),
    "double-well": lambda h, y: 0.25 * (((h - y) ** 2 - 1) ** 2).sum(axis=1),
}
"""Losses of an example with outputs h and targets y, each a sum over the outputs."""
CONVEX = ("squared", "bernoulli", "softmax", "poisson")
"""Losses that are convex in h; the others have negative curvature for some h."""


@dataclass(frozen=True)
class SmallNetwork:
    """A multilayer perceptron over parameters of any width.

    Attributes
    ----------
    activation, loss : str
        Names of ``ACTIVATIONS`` and ``LOSSES``.
    x, y : variables, shapes (N, d_in) and (N, d_out)
        Examples and targets.
    parameters : tuple of shared variables
        Weights (d_in, d_out) and biases (d_out,), alternating, in forward order.
    preactivations : tuple of variables
        h of every layer, shape (N, d_out); the last one is the output.
    value : scalar variable
        Mean loss over the batch.
    """

    activation: str
    loss: str
    x: TensorVariable
    y: TensorVariable
    parameters: tuple[SharedVariable, ...]
    preactivations: tuple[TensorVariable, ...]
    value: TensorVariable

    @property
    def output(self) -> TensorVariable:
        """The output of the last layer, shape (N, d_out)."""
        return self.preactivations[-1]

    def assign(self, values: Sequence[np.ndarray]) -> None:
        """Set the parameters, whose widths may be new."""
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.set_value(value)


def small_network(activation: str, loss: str, layers: int) -> SmallNetwork:
    """Build a perceptron with a linear output layer; its parameters are to be assigned."""
    x, y = pt.dmatrix("x"), pt.dmatrix("y")
    parameters, preactivations = [], []
    a = x
    for number in range(1, layers + 1):
        weight = pytensor.shared(np.zeros((1, 1)), name=f"W{number}")
        bias = pytensor.shared(np.zeros(1), name=f"b{number}")
        h = a @ weight + bias
        parameters += [weight, bias]
        preactivations.append(h)
        a = ACTIVATIONS[activation](h)
    value = LOSSES[loss](h, y).mean()
    return SmallNetwork(activation, loss, x, y, tuple(parameters), tuple(preactivations), value)


def draw_parameters(
    rng: np.random.Generator, sizes: Sequence[int], bias: float = 0.5
) -> list[np.ndarray]:
    """Draw weights from N(0, 2 / d_in) and biases from N(0, bias^2), alternating."""
    values = []
    for d_in, d_out in pairwise(sizes):
        values.append(rng.normal(scale=np.sqrt(2 / d_in), size=(d_in, d_out)))
        values.append(rng.normal(scale=bias, size=d_out))
    return values


def draw_batch(
    rng: np.random.Generator, loss: str, count: int, d_in: int, d_out: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw normal examples, and targets of the kind that the loss is for."""
    x = rng.normal(size=(count, d_in))
    if loss == "bernoulli":
        return x, rng.integers(0, 2, size=(count, d_out)).astype(float)
    if loss == "softmax":
        return x, np.eye(d_out)[rng.integers(0, d_out, size=count)]
    if loss == "poisson":
        return x, rng.poisson(1.0, size=(count, d_out)).astype(float)
    return x, rng.normal(size=(count, d_out))


def compile_in_python(inputs: Sequence[TensorVariable], outputs: object) -> Function:
    """Compile a function that runs Op by Op in Python: slow per call, quick to compile."""
    with pytensor.config.change_flags(cxx=""):  # Ops that hold a graph would be compiled to C
        mode = Mode(linker="py", optimizer="fast_compile")
        return pytensor.function(list(inputs), outputs, mode=mode, on_unused_input="ignore")


def compile_blocks(network: SmallNetwork, method: object) -> Function:
    """Compile the exact curvature of every layer by a method of the package.

    Parameters
    ----------
    network : SmallNetwork
        The network.
    method : BlockHessian or BlockGaussNewton
        The method.

    Returns
    -------
    Function
        ``(x, y) -> arrays``: for each layer the curvature in the pre-activation of each example,
        of shape (N, d_out, d_out), then the block over row-major vec([W; b]), a square matrix.
        Both are those of the mean loss: an example's curvature is divided by N.
    """
    graph = kfgn.trace_layers(network.value, network.parameters, output=network.output)
    blocks = kfgn.curvature_factors(graph, method)  # type: ignore[arg-type]
    outputs = []
    for layer in graph.layers:
        outputs.append(blocks[layer].curvature[:, 0, :, 0, :])
        outputs.append(blocks[layer].to_dense())
    return compile_in_python([network.x, network.y], outputs)


class DenseMatrix:
    """A symmetric matrix over parameters, formed from its products with the unit vectors.

    Parameters
    ----------
    inputs : sequence of variables
        The arguments, a batch.
    parameters : sequence of shared variables
        The parameters; the matrix has them in this order, each in row-major order.
    vectors, products : sequence of variables
        A vector, one variable for each parameter, and the product of the matrix with it.
    """

    def __init__(
        self,
        inputs: Sequence[TensorVariable],
        parameters: Sequence[SharedVariable],
        vectors: Sequence[TensorVariable],
        products: Sequence[TensorVariable],
    ) -> None:
        self.parameters = list(parameters)
        stacks = [pt.tensor(dtype="float64", shape=(None, *v.type.shape)) for v in vectors]
        stacked = vectorize_graph(list(products), dict(zip(vectors, stacks, strict=True)))
        self._products = compile_in_python([*inputs, *stacks], stacked)

    def __call__(self, *batch: np.ndarray) -> np.ndarray:
        """Return the matrix."""
        shapes = [p.get_value(borrow=True).shape for p in self.parameters]
        sizes = [int(np.prod(shape)) for shape in shapes]
        total = sum(sizes)
        parts = np.split(np.eye(total), np.cumsum(sizes)[:-1], axis=1)
        stacks = [part.reshape(total, *shape) for part, shape in zip(parts, shapes, strict=True)]
        rows = [part.reshape(total, -1) for part in self._products(*batch, *stacks)]
        matrix = np.concatenate(rows, axis=1)
        return (matrix + matrix.T) / 2


def full_hessian(network: SmallNetwork, layer: int | None = None) -> DenseMatrix:
    """Return the Hessian in all parameters, or in those of a layer, by automatic differentiation.

    Parameters
    ----------
    network : SmallNetwork
        The network.
    layer : int, optional
        Number of the layer, from 0; all of them by default.
    """
    chosen = slice(None) if layer is None else slice(2 * layer, 2 * layer + 2)
    parameters = list(network.parameters[chosen])
    gradients = pytensor.grad(network.value, parameters)
    tangents = [p.type() for p in parameters]
    products = pushforward(gradients, parameters, tangents)
    return DenseMatrix([network.x, network.y], parameters, tangents, products)


def numerical_rank(matrices: np.ndarray, tolerance: float) -> tuple[np.ndarray, float]:
    """Return the ranks of symmetric matrices: of the eigenvalues above a tolerance.

    Parameters
    ----------
    matrices : ndarray, shape (..., d, d)
        The matrices.
    tolerance : float
        An eigenvalue counts if its magnitude exceeds this share of the largest of its matrix.

    Returns
    -------
    ranks : ndarray, shape (...)
        The ranks.
    gap : float
        The largest relative magnitude that does not count over the smallest that does, of all the
        matrices. Far below 1, it says that the ranks do not depend on the tolerance.
    """
    sizes = np.abs(np.linalg.eigvalsh((matrices + np.swapaxes(matrices, -1, -2)) / 2))
    largest = sizes.max(axis=-1, keepdims=True)
    relative = sizes / np.where(largest > 0, largest, 1.0)
    counted = relative > tolerance
    dropped, kept = relative[~counted], relative[counted]
    gap = float(dropped.max() / kept.min()) if dropped.size and kept.size else 0.0
    return counted.sum(axis=-1), gap
