"""Two differential equations on the unit square as least-squares losses of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

Array = np.ndarray
#: The factor of the residuals on the boundary.
BOUNDARY_WEIGHT = 30.0
#: The conductivity of the heat equation.
CONDUCTIVITY = 0.1
#: The side of the grid on which a solution is compared with the exact one.
GRID = 64


@dataclass(frozen=True)
class Equation:
    """A differential equation with a known solution.

    Attributes
    ----------
    operator : callable
        Returns the left-hand side at each point, (N,), from the slopes and the diagonal second
        derivatives of u, each (N, 2).
    right : callable
        The right-hand side at points (N, 2).
    exact : callable
        The solution at points (N, 2).
    sides : tuple of (int, float)
        The parts of the boundary where the solution is given: an axis and its value.
    """

    name: str
    operator: Callable[[TensorVariable, TensorVariable], TensorVariable]
    right: Callable[[Array], Array]
    exact: Callable[[Array], Array]
    sides: tuple[tuple[int, float], ...]


def _sines(x: Array) -> Array:
    solution: Array = np.sin(np.pi * x[:, 0]) * np.sin(np.pi * x[:, 1])
    return solution


def _cooling(x: Array) -> Array:
    decay = np.exp(-CONDUCTIVITY * np.pi**2 * x[:, 1])
    solution: Array = decay * np.sin(np.pi * x[:, 0])
    return solution


EQUATIONS = {
    "poisson": Equation(
        "poisson",
        lambda slopes, second: second[:, 0] + second[:, 1],
        lambda x: -2 * np.pi**2 * _sines(x),
        _sines,
        ((0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0)),
    ),
    "heat": Equation(
        "heat",
        lambda slopes, second: slopes[:, 1] - CONDUCTIVITY * second[:, 0],
        lambda x: np.zeros(len(x)),
        _cooling,
        ((0, 0.0), (0, 1.0), (1, 0.0)),
    ),
}


class Problem:
    """An equation, and a network of tanh units that is to solve it.

    Parameters
    ----------
    equation : Equation
        The equation.
    width, hidden : int
        The number of units of a hidden layer, and the number of hidden layers.
    side : int
        Number of points of a side: the interior has their square, on a grid.
    seed : int
        Seed of the initial parameters.
    """

    def __init__(self, equation: Equation, width: int, hidden: int, side: int, seed: int) -> None:
        self.equation = equation
        self.parameters = initial_parameters((2, *[width] * hidden, 1), seed)
        x, target, inside = pt.matrix("x"), pt.vector("target"), pt.vector("inside")
        u = network(x, self.parameters)
        slopes = pytensor.grad(u.sum(), x)
        second = [pytensor.grad(slopes[:, k].sum(), x)[:, k] for k in range(2)]
        interior = equation.operator(slopes, pt.stack(second, axis=1)) - target
        # one residual for each point: of the equation inside, of the value on the boundary
        residual = inside * interior + (1 - inside) * BOUNDARY_WEIGHT * (u - target)
        self.loss = (residual**2).mean()
        self.inputs = [x, target, inside]
        self.batch = points(equation, side)

    def values(self) -> list[Array]:
        """Return copies of the parameters."""
        return [np.array(p.get_value()) for p in self.parameters]

    def solution(self, x: Array) -> Array:
        """Return u at points (M, 2), by NumPy."""
        values = self.values()
        a = x
        for i in range(0, len(values), 2):
            a = (np.tanh(a) if i else a) @ values[i] + values[i + 1]
        return a[:, 0]

    def error(self) -> float:
        """Return the relative L2 error on a grid that no training point lies on."""
        exact = self.equation.exact(grid())
        return float(np.linalg.norm(self.solution(grid()) - exact) / np.linalg.norm(exact))


def network(x: TensorVariable, parameters: list[TensorSharedVariable]) -> TensorVariable:
    """Return u at the points x, of shape (N,)."""
    a = x
    for i in range(0, len(parameters), 2):
        a = (pt.tanh(a) if i else a) @ parameters[i] + parameters[i + 1]
    return a[:, 0]


def initial_parameters(sizes: tuple[int, ...], seed: int) -> list[TensorSharedVariable]:
    """Return weights of Glorot's variance and biases of standard deviation 0.3, alternating."""
    rng, found = np.random.default_rng(seed), []
    for i, (a, b) in enumerate(pairwise(sizes)):
        W = rng.normal(scale=np.sqrt(2 / (a + b)), size=(a, b))
        found.append(pytensor.shared(W, name=f"W{i}", shape=W.shape))
        found.append(pytensor.shared(0.3 * rng.normal(size=b), name=f"b{i}", shape=(b,)))
    return found


def points(equation: Equation, side: int) -> list[Array]:
    """Return the points (N, 2), the target at each, and 1 for those inside."""
    t = (np.arange(side) + 0.5) / side
    inside = np.stack(np.meshgrid(t, t, indexing="ij"), axis=-1).reshape(-1, 2)
    edges = []
    for axis, value in equation.sides:
        edge = np.full((side, 2), value)
        edge[:, 1 - axis] = np.linspace(0, 1, side)
        edges.append(edge)
    boundary = np.concatenate(edges)
    target = np.concatenate([equation.right(inside), equation.exact(boundary)])
    flags = np.concatenate([np.ones(len(inside)), np.zeros(len(boundary))])
    return [np.concatenate([inside, boundary]), target, flags]


def grid() -> Array:
    """Return the points of the comparison, (GRID * GRID, 2)."""
    t = np.linspace(0, 1, GRID)
    return np.stack(np.meshgrid(t, t, indexing="ij"), axis=-1).reshape(-1, 2)
