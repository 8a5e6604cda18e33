"""The three panels of the figure: which network, which planes."""

from dataclasses import dataclass

import numpy as np

from experiments.figure1.planes import Plane
from experiments.small_networks import draw_batch, draw_parameters

Array = np.ndarray


@dataclass(frozen=True)
class Setup:
    """Sizes of the network of the figure, and its seed.

    Attributes
    ----------
    inputs, hidden, outputs : int
        Widths.
    examples : int
        N. Every example and hidden unit has an activation boundary.
    points : int
        Grid points in each direction; an odd number has the origin among them.
    reach : float
        The grid covers [-reach, reach] in both directions.
    seed : int
        Of data and directions.
    """

    inputs: int = 3
    hidden: int = 4
    outputs: int = 1
    examples: int = 4
    points: int = 61
    reach: float = 1.5
    seed: int = 3

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Widths from the input to the output."""
        return self.inputs, self.hidden, self.outputs


@dataclass(frozen=True)
class Panel:
    """One surface of the figure.

    Attributes
    ----------
    name, title : str
        Short name, and what varies.
    plane : Plane
        The parameters.
    one_layer : bool
        Whether the plane lies within the parameters of a single layer.
    """

    name: str
    title: str
    plane: Plane
    one_layer: bool


def batch_of(setup: Setup) -> tuple[Array, Array]:
    """Draw examples and targets."""
    rng = np.random.default_rng([setup.seed, 0])
    return draw_batch(rng, "squared", setup.examples, setup.inputs, setup.outputs)


def panels(setup: Setup) -> list[Panel]:
    """Draw the directions of the paper's three panels; a bias belongs to the W of its layer."""
    rng = np.random.default_rng([setup.seed, 1])
    start, u, v = (draw_parameters(rng, setup.sizes, bias=1.0) for _ in range(3))
    none = [np.zeros_like(part) for part in start]
    first, second = slice(0, 2), slice(2, 4)

    def plane(base1: list[Array], base2: list[Array], x: slice, y: slice) -> Plane:
        base = (*base1[first], *base2[second])
        return Plane(base, _only(u, x), _only(v, y))

    return [
        Panel("a", "$W_1 = xU + yV$", plane(none, start, first, first), True),
        Panel("b", "$W_2 = xU + yV$", plane(start, none, second, second), True),
        Panel("c", "$W_1 = xU,\\ W_2 = yV$", plane(none, none, first, second), False),
    ]


def _only(direction: list[Array], part: slice) -> tuple[Array, ...]:
    """Return a direction with zeros for the parameters outside the part."""
    kept = range(len(direction))[part]
    return tuple(
        value if number in kept else np.zeros_like(value) for number, value in enumerate(direction)
    )


def random_plane(rng: np.random.Generator, setup: Setup, one_layer: bool) -> Plane:
    """Draw a plane through a random point, within W1 or with x in W1 and y in W2."""
    base, u, v = (draw_parameters(rng, setup.sizes, bias=1.0) for _ in range(3))
    first, second = slice(0, 2), slice(2, 4)
    return Plane(tuple(base), _only(u, first), _only(v, first if one_layer else second))
