"""The measured rates of this machine for products, inversions and memory, on one backend."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn
from kfgn_graph.errors import SpecError
from kfgn_graph.program.explanation.operations import INVERSION_COST, Part
from kfgn_graph.program.spec.models import GraphSpec
from kfgn_graph.program.threads import single_threaded_lapack

Clock = Callable[[], float]
PRODUCT_SIZE = 1000
INVERSION_SIZE = 500
MOVED_NUMBERS = 4_000_000
WARM_UP, REPEATS = 5, 11
STRATEGIES = {
    "cholesky": kfgn.Cholesky(),
    "newton-schulz": kfgn.NewtonSchulz(),
    "eigh": kfgn.Eigenbasis(),
    "exact": kfgn.Eigenbasis(exact=True),
    "ekfac": kfgn.Eigenbasis(corrected=True),
}


@dataclass(frozen=True)
class Rates:
    """The measured rates.

    Attributes
    ----------
    product : float
        The operations per second of a matrix product.
    inversion : float
        The operations per second of the spec's inversion, as counted by :data:`INVERSION_COST`.
    memory : float
        The bytes per second, read or written, of a pass over an array.
    """

    product: float
    inversion: float
    memory: float

    @classmethod
    def of(cls, given: Mapping[str, float]) -> Rates:
        """Return rates from a mapping of their names.

        Raises
        ------
        SpecError
            A rate is missing, unknown or not positive.
        """
        names = [field.name for field in fields(cls)]
        if set(given) != set(names) or not all(given[name] > 0 for name in names):
            raise SpecError(
                f"rates: found {dict(given)}; give a positive number for each of "
                f"{', '.join(names)}."
            )
        return cls(**given)

    def seconds(self, part: Part) -> float:
        """Return the seconds that a part takes at the rate of its kind."""
        rate: float = getattr(self, part.kind)
        return part.amount / rate


def measure_rates(
    spec: GraphSpec, mode: Mode, dtype: str, clock: Clock = time.perf_counter
) -> Rates:
    """Measure each rate, as a median over a few calls.

    Parameters
    ----------
    spec : GraphSpec
        The spec, which names the backend and the inverse.
    mode : Mode
        The compilation mode of the backend.
    dtype : str
        The dtype of the update.
    clock : callable
        The clock, in seconds.
    """
    with single_threaded_lapack(spec.backend):
        product = 2.0 * PRODUCT_SIZE**3 / _typical(_product(mode, dtype), clock)
        moved = 2.0 * MOVED_NUMBERS * np.dtype(dtype).itemsize
        bandwidth = moved / _typical(_pass(mode, dtype), clock)
        inversion = product
        if not spec.method.first_order and spec.schedule.inverse != "newton-schulz":
            inverse = spec.schedule.inverse
            cost = 2 * INVERSION_COST[inverse] * INVERSION_SIZE**3
            inversion = cost / _typical(_inversion(mode, dtype, inverse), clock)
    return Rates(product, inversion, bandwidth)


def _typical(call: Callable[[], object], clock: Clock) -> float:
    """Return the median seconds of a call, after some calls that warm up memory and threads."""
    for _ in range(WARM_UP):
        call()
    taken = []
    for _ in range(REPEATS):
        start = clock()
        call()
        taken.append(clock() - start)
    return statistics.median(taken)


def _product(mode: Mode, dtype: str) -> Callable[[], object]:
    """Return a call of a product that also returns one entry, so that it waits for the product."""
    left, right = (_numbers((PRODUCT_SIZE, PRODUCT_SIZE), dtype, seed) for seed in (0, 1))
    into = pytensor.shared(np.zeros_like(left), shape=left.shape)
    product = pytensor.shared(left, shape=left.shape) @ pytensor.shared(right, shape=right.shape)
    return _waiting(pytensor.function([], product[0, 0], updates={into: product}, mode=mode))


def _pass(mode: Mode, dtype: str) -> Callable[[], object]:
    numbers = _numbers((MOVED_NUMBERS,), dtype, 0)
    kept = pytensor.shared(numbers, shape=numbers.shape)
    half = np.asarray(0.5, dtype)
    return _waiting(pytensor.function([], kept[0], updates={kept: half * kept + half}, mode=mode))


def _inversion(mode: Mode, dtype: str, inverse: str) -> Callable[[], object]:
    """Return a call that inverts two factors of equal width by the spec's strategy."""
    numbers = _numbers((INVERSION_SIZE, 2 * INVERSION_SIZE), dtype, 0)
    factor = numbers @ numbers.T / numbers.shape[1]
    pair = [pytensor.shared(factor, shape=factor.shape) for _ in "QG"]
    gamma = pt.constant(np.asarray(0.1, dtype))
    parts = STRATEGIES[inverse].refresh(kfgn.KroneckerFactors(*pair), gamma, {})
    return _waiting(pytensor.function([], [part.sum() for part in parts.values()], mode=mode))


def _numbers(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def _waiting(function: Callable[[], object]) -> Callable[[], object]:
    """Return a call that waits for its results, since JAX returns before they are computed."""

    def call() -> list[np.ndarray]:
        returned = function()
        return [np.asarray(v) for v in (returned if isinstance(returned, list) else [returned])]

    return call
