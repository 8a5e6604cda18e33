"""The loss and its second derivatives on a plane through the parameters of a network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.replace import clone_replace, vectorize_graph

from experiments.small_networks import SmallNetwork, compile_in_python


@dataclass(frozen=True)
class Plane:
    """The parameters theta(x, y) = base + x U + y V.

    Attributes
    ----------
    base, along_x, along_y : tuple of ndarray
        base, U and V: an array for each parameter of the network.
    """

    base: tuple[np.ndarray, ...]
    along_x: tuple[np.ndarray, ...]
    along_y: tuple[np.ndarray, ...]

    def at(self, x: float, y: float) -> list[np.ndarray]:
        """Return the parameters at a point."""
        parts = zip(self.base, self.along_x, self.along_y, strict=True)
        return [base + x * u + y * v for base, u, v in parts]


@dataclass(frozen=True)
class Values:
    """The loss, its second derivatives and the hidden units at P points of a plane.

    Attributes
    ----------
    loss : ndarray, shape (P,)
        E.
    hessian : ndarray, shape (P, 2, 2)
        Second derivatives of E in x and y, by automatic differentiation. At a kink they are those
        of one of its sides.
    hidden : ndarray, shape (P, N * units)
        Pre-activations of the first layer, for each example and unit.
    """

    loss: np.ndarray
    hessian: np.ndarray
    hidden: np.ndarray

    def on(self, grid: int) -> "Values":
        """Return the same with the points arranged as a square of that side, x first."""
        return Values(
            self.loss.reshape(grid, grid),
            self.hessian.reshape(grid, grid, 2, 2),
            self.hidden.reshape(grid, grid, -1),
        )


class PlaneFunction:
    """A compiled function for the loss of a network on any plane, at many points at once."""

    def __init__(self, network: SmallNetwork) -> None:
        x, y = pt.dscalars("x", "y")
        families = [[p.type() for p in network.parameters] for _ in range(3)]
        point = {
            p: base + x * u + y * v
            for p, base, u, v in zip(network.parameters, *families, strict=True)
        }
        loss, hidden = clone_replace(
            [network.value, network.preactivations[0].ravel()], point, rebuild_strict=False
        )
        slopes = pytensor.grad(loss, [x, y])
        rows = [pytensor.grad(slope, [x, y], disconnected_inputs="ignore") for slope in slopes]
        scalars = [loss, rows[0][0], rows[0][1], rows[1][1]]
        xs, ys = pt.dvectors("xs", "ys")
        outputs = vectorize_graph([*scalars, hidden], {x: xs, y: ys})
        inputs = [network.x, network.y, xs, ys, *(p for family in families for p in family)]
        self._function = compile_in_python(inputs, outputs)

    def __call__(
        self, plane: Plane, batch: Sequence[np.ndarray], xs: np.ndarray, ys: np.ndarray
    ) -> Values:
        """Evaluate at the points (xs[i], ys[i])."""
        parts = (*plane.base, *plane.along_x, *plane.along_y)
        loss, xx, xy, yy, hidden = self._function(*batch, xs, ys, *parts)
        shape = np.shape(xs)
        second = [np.broadcast_to(entry, shape) for entry in (xx, xy, xy, yy)]
        hessian = np.stack(second, axis=-1).reshape(*shape, 2, 2)
        return Values(
            np.broadcast_to(loss, shape),
            hessian,
            np.broadcast_to(hidden, (*shape, np.shape(hidden)[-1])),
        )

    def grid(
        self, plane: Plane, batch: Sequence[np.ndarray], points: int, reach: float
    ) -> tuple[np.ndarray, Values]:
        """Evaluate on a square grid over [-reach, reach] in both directions.

        Returns
        -------
        axis : ndarray, shape (points,)
            Its coordinates.
        values : Values
            Arranged as the grid.
        """
        axis = np.linspace(-reach, reach, points)
        xs, ys = (part.ravel() for part in np.meshgrid(axis, axis, indexing="ij"))
        return axis, self(plane, batch, xs, ys).on(points)
