"""What is true of a random network: derivatives, Gauss-Newton blocks and factors, dense."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from experiments.fuzzing.graphs_cases import Case

Array = np.ndarray
CLOSE = 1e-9


class NotLocated(Exception):
    """A variable of the package's graph that is no intermediate result of the computation."""


@dataclass
class Split:
    """The loss as a function of an output z of the network.

    Attributes
    ----------
    places : dict
        The results that make up z, by their first elements.
    order : (n,) array of int
        For each element of z, row-major, its place among the results' elements.
    hessian : (n, n) array
        The Hessian of the loss in z, in the order of z.
    """

    places: dict[int, int]
    order: Array
    hessian: Array

    @property
    def size(self) -> int:
        """The number of elements of z."""
        return len(self.order)


class Truth:
    """The derivatives of a case's loss.

    Parameters
    ----------
    case : Case
    trained : list of str
        The names of the parameters to train, in order.
    """

    def __init__(self, case: Case, trained: list[str]) -> None:
        self.case, self.trained = case, tuple(trained)
        self.tape, self.loss = case.meaning(2, variables=self.trained)

    @cached_property
    def spans(self) -> dict[str, slice]:
        """The places of each trained parameter in the vector of all."""
        sizes = [self.case.draw.parameters[name].size for name in self.trained]
        ends = np.cumsum(sizes)
        return {
            name: slice(int(end - size), int(end))
            for name, size, end in zip(self.trained, sizes, ends, strict=True)
        }

    def finite(self) -> bool:
        """Return whether loss and derivatives are finite."""
        parts = (self.loss.value, self.loss.gradient(), self.loss.hessian())
        return all(np.isfinite(a).all() for a in parts)

    def gradient(self, name: str) -> Array:
        """Return the gradient in a parameter, of its shape."""
        shape = self.case.draw.parameters[name].shape
        return self.loss.gradient()[self.spans[name]].reshape(shape)

    def locate(self, value: Array) -> list[int]:
        """Return the results with these values, in whatever shape.

        A formula that is written several times has several results. Where tanh(h) equals h, the
        two also have the same derivatives. In float32 two results may be equal to rounding and
        yet have other derivatives, so that only the closest and its equals count.
        """
        flat = np.ravel(value)
        if np.isin(flat, [0.0, 1.0]).all():  # found in many places
            raise NotLocated
        scale = max(float(np.abs(flat).max()), 1e-3)
        far = {
            index: float(np.abs(jet.value.ravel() - flat).max())
            for index, jet in enumerate(self.tape.results)
            if jet.first is not None and jet.value.size == flat.size
        }
        if not far or min(far.values()) > self.close * scale:
            raise NotLocated
        closest = self.tape.results[min(far, key=far.__getitem__)].value.ravel()
        found = [
            index
            for index in far
            if np.abs(self.tape.results[index].value.ravel() - closest).max() <= CLOSE * scale
        ]
        if len(found) > 1 and self._is_function_of(found[0], found[1:]):
            raise NotLocated  # attention over equal tokens returns them, and is another function
        return found

    def _is_function_of(self, first: int, others: list[int]) -> bool:
        """Return whether one of several equal results depends on the first, not as identity."""
        size = self.tape.results[first].value.size
        tape, _ = self.case.meaning(1, seeds={first: 0}, count=size)
        slopes = [tape.results[k].gradient().reshape(size, size) for k in others]
        return any(
            np.abs(s).max() > CLOSE and np.abs(s - np.eye(size)).max() > 1e-6 for s in slopes
        )

    @property
    def close(self) -> float:
        """The relative difference below which two results are the same."""
        return CLOSE if self.case.draw.dtype == "float64" else 2e-5

    def split(self, value: Array) -> Split:
        """Return the loss as a function of the output with these values."""
        size = value.size
        try:
            places, order = dict.fromkeys(self.locate(value), 0), np.arange(size)
        except NotLocated:
            places, order = self._joint(value)
        _, loss = self.case.meaning(2, seeds=places, count=size)
        hessian = loss.hessian()[np.ix_(order, order)]
        return Split({start: k for k, start in reversed(places.items())}, order, hessian)

    def _joint(self, value: Array) -> tuple[dict[int, int], Array]:
        """Return the results of which an output is a concatenation along the last axis."""
        rows = int(np.prod(value.shape[:-1]))
        flat = value.reshape(rows, -1)
        numbers = np.empty(flat.shape, int)
        places: dict[int, int] = {}
        start = count = 0
        while start < flat.shape[1]:
            for stop in range(flat.shape[1], start, -1):
                try:
                    found = self.locate(flat[:, start:stop])
                except NotLocated:
                    continue
                if found[0] not in places:
                    break
            else:
                raise NotLocated
            piece = rows * (stop - start)
            places |= dict.fromkeys(found, count)
            numbers[:, start:stop] = (count + np.arange(piece)).reshape(rows, -1)
            start, count = stop, count + piece
        return places, numbers.ravel()

    def jacobian(self, split: Split) -> Array:
        """Return the derivatives of z in all trained parameters, (n, P)."""
        found = [self.tape.results[k].gradient() for _, k in sorted(split.places.items())]
        flat = np.concatenate([g.reshape(g.shape[0], -1) for g in found], axis=1)
        return flat.T[split.order]

    def gauss_newton(self, split: Split) -> Array:
        """Return J^T H J with negative curvature set to zero, (P, P)."""
        J = self.jacobian(split)
        return J.T @ semidefinite(split.hessian) @ J

    def rounding(self, J: Array) -> float:
        """Return what the rounding of H makes of J^T H J, relative to :func:`check`'s tolerance.

        J has the shape (n, P). A float32 H = diag(p) - p p^T is exact to 1e-7 however small it is,
        and a float64 one of log(1 - sigmoid(z)) to 1e-11.
        """
        return 5e-5 * float((J**2).sum(0).max())

    def factors(self, split: Split, a: Array, h: Array, bias: bool) -> tuple[Array, Array, float]:
        """Return Q and G of a layer, from its input and its pre-activation, and G's rounding.

        Each row of the pre-activation counts as an example: Q is the mean over them, and G the
        sum.
        """
        rows = a.reshape(-1, a.shape[-1])
        if bias:
            rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        seeds = dict.fromkeys(self.locate(h), 0)
        tape, _ = self.case.meaning(1, seeds=seeds, count=h.size)
        found = [tape.results[k].gradient() for _, k in sorted(split.places.items())]
        J = np.concatenate([g.reshape(g.shape[0], -1) for g in found], axis=1).T[split.order]
        full = (J.T @ semidefinite(split.hessian) @ J).reshape(
            len(rows), -1, len(rows), h.shape[-1]
        )
        G = np.einsum("ninj->ij", full)
        return rows.T @ rows / len(rows), G, self.rounding(J)


def semidefinite(H: Array) -> Array:
    """Return the nearest matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh((H + H.T) / 2)
    return (vectors * np.maximum(values, 0)) @ vectors.T


def mixed(split: Split, rows: int) -> float:
    """Return the largest second derivative in the outputs of two examples."""
    K = split.size // rows
    blocks = split.hessian.reshape(rows, K, rows, K).copy()
    blocks[np.arange(rows), :, np.arange(rows), :] = 0
    return float(np.abs(blocks).max())
