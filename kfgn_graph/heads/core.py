"""The interface between a loss and the curvature methods.

The output z is read as R rows of K numbers: a row r for each example, over all example axes,
with the output of the example flattened. H_r is the (K, K) Hessian of the *whole loss* with
respect to row r. It therefore includes the reduction of the loss, such as 1/N for a mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.random import Draws


def size_of(variable: TensorVariable, start: int, stop: int | None = None) -> TensorVariable | int:
    """Return the product of the lengths of axes ``start:stop``: an int if they are static."""
    stop = variable.type.ndim if stop is None else stop
    product: TensorVariable | int = 1
    for axis in range(start, stop):
        static = variable.type.shape[axis]
        product = product * (static if static is not None else variable.shape[axis])
    return product


def rows(variable: TensorVariable, example_axes: int) -> TensorVariable:
    """Return the variable as a matrix (R, K), one row for each example."""
    if variable.type.ndim == 2 and example_axes == 1:
        return variable
    return variable.reshape((-1, size_of(variable, example_axes)))


@dataclass(frozen=True, eq=False)
class Head(ABC):
    """A data loss as a function of the network's output z.

    Attributes
    ----------
    output : TensorVariable
        The output z, of shape (N, ..., *event).
    example_axes : int
        Number of leading axes of z that enumerate examples.
    loss : TensorVariable
        The scalar data loss.
    negative : {'zero', 'absolute'}
        The treatment of negative eigenvalues of H: zero, or their absolute values.
    """

    output: TensorVariable
    example_axes: int
    loss: TensorVariable
    negative: str = field(default="zero", kw_only=True)

    name: ClassVar[str] = "head"
    #: The predictive distribution, if the loss is its negative log-likelihood, else None.
    distribution: ClassVar[str | None] = None

    @property
    def n_outputs(self) -> TensorVariable | int:
        """K, the number of outputs of an example: an int if it is static."""
        return size_of(self.output, self.example_axes)

    @abstractmethod
    def hessians(self) -> TensorVariable:
        """Return the exact H_r, of shape (R, K, K)."""

    @abstractmethod
    def psd_hessians(self) -> TensorVariable:
        """Return H_r without negative eigenvalues, of shape (R, K, K).

        They are set to zero, which gives the positive semi-definite matrix nearest to H_r in the
        Frobenius norm, or replaced by their absolute values, as ``negative`` says.
        """

    @abstractmethod
    def summed_hessian(self) -> TensorVariable:
        """Return the sum over rows of :meth:`psd_hessians`, of shape (K, K)."""

    @abstractmethod
    def square_root(self, start: TensorVariable | int, count: int) -> TensorVariable:
        """Return columns of a square root C of :meth:`psd_hessians`: C C^T = H, Eq. (23).

        Parameters
        ----------
        start : int or scalar TensorVariable
            The first column.
        count : int
            The number of columns. Columns beyond K are zero.

        Returns
        -------
        TensorVariable
            Of shape (count, *z.shape).
        """

    def coordinates(self, gradient: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        """Return rho and r with C rho + r = gradient for each row.

        Parameters
        ----------
        gradient : TensorVariable
            The gradient of the loss in z, of z's shape.

        Returns
        -------
        tuple
            rho, of shape (K, R), by columns of :meth:`square_root`, and r, of z's shape: the part
            of the gradient outside the range of C. This default has rho = 0.
        """
        flat = rows(gradient, self.example_axes)
        return pt.zeros_like(flat.T), gradient

    @abstractmethod
    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        """Return random columns c with E[sum_s c_s c_s^T] = H.

        The columns are gradients at targets drawn from the predictive distribution of the
        model, if the loss defines one, else combinations of the columns of the square root with
        random signs; both are divided by the root of ``samples``.

        Parameters
        ----------
        draws : Draws
            The source of random numbers.
        samples : int
            The number of columns.

        Returns
        -------
        TensorVariable
            Of shape (samples, *z.shape).
        """

    @abstractmethod
    def curvature_times(self, direction: TensorVariable) -> TensorVariable:
        """Return H_r u_r for each row, with H_r as in :meth:`psd_hessians`.

        Parameters
        ----------
        direction : TensorVariable
            u, of z's shape.

        Returns
        -------
        TensorVariable
            Of z's shape.
        """

    def semidefinite(self, curvature: TensorVariable) -> TensorVariable:
        """Return eigenvalues of H, or factors of their sign, without negative ones."""
        if self.negative == "absolute":
            return pt.abs(curvature)
        return pt.maximum(curvature, np.asarray(0, curvature.type.dtype))

    def basis(self, start: TensorVariable | int, count: int) -> TensorVariable:
        """Return ``count`` unit vectors from e_start on, of shape (count, 1, ..., *event)."""
        z = self.output
        hot = pt.eq(
            (start + pt.arange(count))[:, None], pt.arange(self.n_outputs)[None, :]
        ).astype(z.type.dtype)
        event = [size_of(z, axis, axis + 1) for axis in range(self.example_axes, z.type.ndim)]
        return hot.reshape((count, *([1] * self.example_axes), *event))

    def lengths(self) -> list[TensorVariable | int]:
        """Return the lengths of the axes of z, each an int if it is static."""
        return [size_of(self.output, axis, axis + 1) for axis in range(self.output.type.ndim)]
