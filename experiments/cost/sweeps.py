"""The networks that are measured: one size varies at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.benchmarks.nets import Net

OUTPUTS = 10
"""K where another size varies."""


@dataclass(frozen=True)
class Sweep:
    """A size that varies.

    Attributes
    ----------
    title : str
        What varies and what stays, for a picture.
    values : tuple of int
        The sizes, ascending.
    net : callable
        From a size to the network with its batch.
    schedules : tuple of str
        Schedules of the second-order updates that are measured, of ``updates.SCHEDULES``.
    """

    title: str
    values: tuple[int, ...]
    net: Callable[[int], Net]
    schedules: tuple[str, ...] = ("fresh", "defaults")


@dataclass(frozen=True)
class Point:
    """One size of a sweep.

    Attributes
    ----------
    sweep : str
        Of ``SWEEPS``.
    value : int
        The size.
    net : Net
        The network with its batch.
    schedules : tuple of str
        Of the sweep.
    """

    sweep: str
    value: int
    net: Net
    schedules: tuple[str, ...]


def perceptron(width: int, outputs: int, batch: int) -> Net:
    """Return a network with three hidden layers as wide as its input, tanh, squared error."""
    name = f"width{width}-outputs{outputs}-batch{batch}"
    return Net(name, (*[width] * 4, outputs), "tanh", "squared", batch)


def net_of(settings: Mapping[str, Any]) -> Net:
    """Return the network of a record's settings."""
    names = ("name", "activation", "loss", "batch")
    return Net(sizes=tuple(settings["sizes"]), **{name: settings[name] for name in names})


SWEEPS: Mapping[str, Sweep] = {
    "width": Sweep(
        "width (batch 1000, K = 10)",
        (64, 128, 256, 512, 1024),
        lambda width: perceptron(width, OUTPUTS, 1000),
    ),
    "batch": Sweep(
        "batch (width 500, K = 10)",
        (125, 500, 1000, 2000, 4000),
        lambda batch: perceptron(500, OUTPUTS, batch),
    ),
    "K": Sweep(
        "K (width 500, batch 1000)",
        (1, 2, 4, 16, 64),
        lambda outputs: perceptron(500, outputs, 1000),
    ),
    "K-small-batch": Sweep(
        "K (width 500, batch 125)",
        (1, 2, 4, 8, 16, 64),
        lambda outputs: perceptron(500, outputs, 125),
        ("fresh",),
    ),
}
"""By name."""


def points_of(names: Sequence[str], most: int | None = None) -> Iterator[Point]:
    """Yield the points of some sweeps, of each the ``most`` smallest sizes, by default all."""
    for name in names:
        sweep = SWEEPS[name]
        for value in sweep.values[:most]:
            yield Point(name, value, sweep.net(value), sweep.schedules)
