"""How a quantity grows with a size: fitted and predicted exponents."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Growth:
    """A quantity measured at several sizes, beside what was predicted.

    Attributes
    ----------
    measured, predicted : list of float
        At each size; the prediction in units of its own.
    exponent, predicted_exponent : float
        p of ``size^p``, least squares of the logarithms.
    top, predicted_top : float
        The same between the two largest sizes alone.
    """

    measured: list[float]
    predicted: list[float]
    exponent: float
    predicted_exponent: float
    top: float
    predicted_top: float

    @property
    def scaled(self) -> list[float]:
        """The prediction times what makes it meet the measurement at the largest size."""
        factor = self.measured[-1] / self.predicted[-1]
        return [factor * value for value in self.predicted]


@dataclass(frozen=True)
class Series:
    """Time and memory of a method's update as one size grows.

    Attributes
    ----------
    axis, method : str
        What grows, and whose update.
    values : list of int
        The sizes, ascending.
    time : Growth
        In products of 2000 x 2000 matrices; predicted from operations.
    memory : Growth
        MiB by which the process grew; predicted from what has to be kept.
    """

    axis: str
    method: str
    values: list[int]
    time: Growth
    memory: Growth


def fitted(
    values: Sequence[float], measured: Sequence[float], predicted: Sequence[float]
) -> Growth:
    """Return a quantity's growth over sizes, the same fit for measurement and prediction."""
    return Growth(
        list(measured),
        list(predicted),
        slope(values, measured),
        slope(values, predicted),
        slope(values[-2:], measured[-2:]),
        slope(values[-2:], predicted[-2:]),
    )


def slope(sizes: Sequence[float], quantities: Sequence[float]) -> float:
    """Return the exponent p of ``size^p`` by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(quantities), 1)[0])
