"""What a loss says of its output: the interface that curvature methods read.

Rows r enumerate the examples (R of them, over all example axes), and the output of an
example is flattened to K numbers. H_r is the (K, K) Hessian of the *whole loss* with
respect to row r, so that it carries the loss's own reduction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.random import Draws


def size_of(variable: TensorVariable, start: int, stop: int | None = None) -> TensorVariable | int:
    """Return the product of some of the variable's lengths: an int where they are static."""
    stop = variable.type.ndim if stop is None else stop
    product: TensorVariable | int = 1
    for axis in range(start, stop):
        static = variable.type.shape[axis]
        product = product * (static if static is not None else variable.shape[axis])
    return product


def rows(variable: TensorVariable, example_axes: int) -> TensorVariable:
    """Flatten to (R, K): examples and the numbers of one example."""
    if variable.type.ndim == 2 and example_axes == 1:
        return variable
    return variable.reshape((-1, size_of(variable, example_axes)))


@dataclass(frozen=True, eq=False)
class Head(ABC):
    """The loss as a function of the network's output z.

    Attributes
    ----------
    output : TensorVariable
        z, of shape (N, ..., *event).
    example_axes : int
        How many leading axes of z enumerate examples.
    loss : TensorVariable
        The scalar data loss.
    """

    output: TensorVariable
    example_axes: int
    loss: TensorVariable

    name: ClassVar[str] = "head"
    #: The distribution that the loss is the negative log-likelihood of, where it is one.
    distribution: ClassVar[str | None] = None

    @property
    def n_outputs(self) -> TensorVariable | int:
        """K, the number of outputs of an example: an int where it is static."""
        return size_of(self.output, self.example_axes)

    @abstractmethod
    def hessians(self) -> TensorVariable:
        """Return the exact H_r, of shape (R, K, K)."""

    @abstractmethod
    def psd_hessians(self) -> TensorVariable:
        """Return H_r with negative curvature set to zero, of shape (R, K, K)."""

    @abstractmethod
    def summed_hessian(self) -> TensorVariable:
        """Return the sum over rows of :meth:`psd_hessians`, of shape (K, K)."""

    @abstractmethod
    def square_root(self, start: TensorVariable | int, count: int) -> TensorVariable:
        """Return columns ``start : start + count`` of C with C C^T = H (Eq. 23).

        Of shape (count, *z.shape); columns beyond K are zero. The columns are those of
        :meth:`psd_hessians`.
        """

    @abstractmethod
    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        """Return random columns c, of shape (samples, *z.shape), with E[sum_s c c^T] = H.

        Drawn from the model's own predictive distribution where the loss defines one,
        else random +-1 combinations of the columns of the square root.
        """

    @abstractmethod
    def curvature_times(self, direction: TensorVariable) -> TensorVariable:
        """Return H_r times a direction at each row, of z's shape, with :meth:`psd_hessians`."""

    def basis(self, start: TensorVariable | int, count: int) -> TensorVariable:
        """Return unit vectors e_k, k in ``start : start + count``, as (count, 1, ..., *event)."""
        z = self.output
        hot = pt.eq(
            (start + pt.arange(count))[:, None], pt.arange(self.n_outputs)[None, :]
        ).astype(z.type.dtype)
        event = [size_of(z, axis, axis + 1) for axis in range(self.example_axes, z.type.ndim)]
        return hot.reshape((count, *([1] * self.example_axes), *event))

    def lengths(self) -> list[TensorVariable | int]:
        """Return the lengths of z's axes, as ints where they are static."""
        return [size_of(self.output, axis, axis + 1) for axis in range(self.output.type.ndim)]
