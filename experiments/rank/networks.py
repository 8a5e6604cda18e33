"""The network of the study, and its curvature as matrices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from experiments.rank.losses import LOSSES, Loss
from experiments.small_networks import DenseMatrix, compile_in_python, draw_parameters

Array = np.ndarray
METHODS = {"KFLR": kfgn.KFLR(), "KFRA": kfgn.KFRA(), "KFAC": kfgn.KFAC()}


@dataclass(frozen=True)
class Problem:
    """A tanh network with one of the losses, in float64.

    Attributes
    ----------
    loss : Loss
        Its loss.
    x, y : variables, shapes (N, d) and (N, ...)
        Examples and targets.
    parameters : tuple of shared variables
        Weights and biases, alternating.
    logits, output : variables
        h, shape (N, K), and the variable in which H_L is meant.
    value : scalar variable
        Mean loss.
    """

    loss: Loss
    x: TensorVariable
    y: TensorVariable
    parameters: tuple[SharedVariable, ...]
    logits: TensorVariable
    output: TensorVariable
    value: TensorVariable

    def layer_graph(self) -> kfgn.LayerGraph:
        """Trace the layers, with the loss split at ``output``."""
        return kfgn.trace_layers(self.value, self.parameters, output=self.output)


def build_problem(name: str, inputs: int, hidden: Sequence[int], seed: int) -> Problem:
    """Build the network with the loss of that name."""
    loss = LOSSES[name]
    x, y = pt.dmatrix("x"), pt.dmatrix("y")
    values = draw_parameters(
        np.random.default_rng(seed), (inputs, *hidden, loss.outputs), bias=0.1
    )
    parameters = [
        pytensor.shared(value, name=f"{'Wb'[number % 2]}{number // 2 + 1}", shape=value.shape)
        for number, value in enumerate(values)
    ]
    h = x
    for weight, bias in zip(parameters[0::2], parameters[1::2], strict=True):
        h = (h if h is x else pt.tanh(h)) @ weight + bias
    output = loss.output(h)
    value = loss.value(output, y).mean()
    return Problem(loss, x, y, tuple(parameters), h, output, value)


def dense_gauss_newton(problem: Problem) -> DenseMatrix:
    """Return the Gauss-Newton matrix of the mean loss in all parameters, from its products."""
    vectors = [p.type() for p in problem.parameters]
    products = kfgn.gauss_newton_product(problem.layer_graph(), vectors)
    return DenseMatrix([problem.x, problem.y], problem.parameters, vectors, products)


class SampledGaussNewton:
    """The Monte-Carlo Gauss-Newton matrix: one target for each example, drawn from the model.

    It is the mean of g g^T over the examples, with g the gradient of an example's loss at the
    drawn target.
    """

    def __init__(self, name: str, problem: Problem) -> None:
        self._name = name
        gradients = pytensor.grad(problem.value, list(problem.parameters))
        joined = pt.concatenate([gradient.ravel() for gradient in gradients])
        self._gradient = compile_in_python([problem.x, problem.y], joined)
        self._output = compile_in_python([problem.x], problem.output)

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        """Return the symmetric matrix over the parameters, as :func:`dense_gauss_newton`."""
        targets = sample_targets(self._name, self._output(x), rng)
        rows = np.stack([self._gradient(x[[n]], targets[[n]]) for n in range(len(x))])
        matrix: Array = rows.T @ rows / len(x)
        return matrix


def sample_targets(name: str, output: Array, rng: np.random.Generator) -> Array:
    """Draw a target for each example from the predictive distribution of the model."""
    if name == "squared":
        return output + rng.normal(size=output.shape)
    if name == "softmax":
        gumbel = rng.gumbel(size=output.shape)
        return np.eye(output.shape[1])[(output + gumbel).argmax(axis=1)]
    q = output if name == "mixture" else 1 / (1 + np.exp(-output))
    return (rng.uniform(size=output.shape) < q).astype(float)


class LayerBlocks:
    """For each layer the exact Gauss-Newton block, and the factors of each Kronecker method."""

    def __init__(self, problem: Problem) -> None:
        graph = problem.layer_graph()
        exact = kfgn.curvature_factors(graph, kfgn.BlockGaussNewton())
        outputs = [exact[layer].to_dense() for layer in graph.layers]
        for method in METHODS.values():
            factors = kfgn.curvature_factors(graph, method)
            for layer in graph.layers:
                outputs += [factors[layer].Q, factors[layer].G]
        self._function = compile_in_python([problem.x, problem.y], outputs)
        self._layers = len(graph.layers)

    def __call__(self, x: Array, y: Array) -> tuple[list[Array], dict[str, list[Array]]]:
        """Return the exact blocks, and for each method Q and G of every layer, alternating."""
        blocks, rest = (found := self._function(x, y))[: self._layers], found[self._layers :]
        count = 2 * self._layers
        factors = {
            method: rest[number * count : (number + 1) * count]
            for number, method in enumerate(METHODS)
        }
        return blocks, factors


def train(problem: Problem, x: Array, y: Array, updates: int) -> list[float]:
    """Train with KFLR at the package's defaults; returns the losses."""
    update = kfgn.compile_update(
        problem.value,
        problem.parameters,
        [problem.x, problem.y],
        method=kfgn.KFLR(),
        output=problem.output,
    )
    return [float(update(x, y).loss) for _ in range(updates)]
