"""The comparison of directions at one point of a run: on one batch and with one damping."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.appendix_f2.cases import Array, Case, Data
from experiments.appendix_f2.directions import (
    KroneckerInverse,
    Solution,
    conjugate_gradients,
    cosine,
    spectrum,
)
from experiments.appendix_f2.points import Point
from experiments.appendix_f2.systems import Systems

Record = dict[str, Any]
KINDS = ("exact", "factored")
"""How the Kronecker-factored blocks are damped: lambda I added, or each factor shifted."""
EXACT, BLOCK, GRADIENT = "full", "block", "gradient"
DRAWS = 100
"""Seeds of KFAC are this number times that of the batch, plus that of the draw."""


@dataclass(frozen=True)
class Exact:
    """The exact updates on one batch with one damping.

    Attributes
    ----------
    b : ndarray
        The negative gradient.
    full, block : Solution
        The updates with the Gauss-Newton matrix and with its layer blocks.
    """

    b: Array
    full: Solution
    block: Solution


class Estimates:
    """Gradient and Kronecker factors on one batch.

    Parameters
    ----------
    systems : Systems
        The network, at the parameters of the point.
    batch : tuple of ndarray
        The batch.
    seed : int
        Of the draws of KFAC.
    """

    def __init__(self, systems: Systems, batch: Data, seed: int) -> None:
        case = systems.case
        self.b = -systems.gradient(batch)
        self.products = [systems.product(batch, blocks) for blocks in (False, True)]
        self.inverses: dict[str, list[KroneckerInverse]] = {}
        self.traces: dict[str, list[float]] = {}
        Q = None
        for name, (method, _) in case.estimates.items():
            draws = case.draws if method == "KFAC" else 1
            found = [systems.factors(name, batch, DRAWS * seed + draw) for draw in range(draws)]
            Q = Q or [spectrum(factor) for factor in found[0].Q]
            self.inverses[name] = [KroneckerInverse(Q, [*map(spectrum, f.G)]) for f in found]
            self.traces[name] = np.mean([f.traces for f in found], axis=0).tolist()
        self.reference = "KFLR" if case.kflr else [*case.estimates][-1]

    @property
    def mean_eigenvalue(self) -> float:
        """Return the mean eigenvalue of KFLR's blocks, or of KFAC's with the most samples."""
        return sum(self.traces[self.reference]) / len(self.b)

    def solve(self, damping: float, tolerance: float) -> Exact:
        """Return the exact updates."""
        inverse = self.inverses[self.reference][0]
        full, block = (
            conjugate_gradients(
                product, self.b, damping, lambda v: inverse.exact(v, damping), tolerance
            )
            for product in self.products
        )
        return Exact(self.b, full, block)


def compare(
    estimates: Estimates, exact: Exact, damping: float, reference: Exact | None
) -> Iterator[Record]:
    r"""Yield a record for every direction on a batch.

    ``full`` and ``block`` are its cosines with the exact updates, ``kflr`` that with KFLR's
    direction of the same damping. ``decrease`` is the decrease of the damped quadratic model at
    the best step length, relative to that of the exact update:
    :math:`(g^\top d)^2 / (d^\top (G + \lambda I) d)` over the same at the minimum.
    ``whole_full`` and ``whole_block`` compare the curvature alone: the gradient of the largest
    batch is preconditioned with the curvature of this batch, and the direction compared with
    the exact updates of the largest batch.
    """
    for name, kind, draw, direction in _directions(estimates, exact, damping):
        record = {"direction": name, "damped": kind, "draw": draw}
        record |= _measures(direction, estimates, exact, damping)
        if name in estimates.inverses:
            inverse = estimates.inverses[name][draw]
            if "KFLR" in estimates.inverses:
                other = getattr(estimates.inverses["KFLR"][0], kind)(exact.b, damping)
                record["kflr"] = cosine(direction, other)
            if reference is not None:
                moved = getattr(inverse, kind)(reference.b, damping)
                record["whole_full"] = cosine(moved, reference.full.x)
                record["whole_block"] = cosine(moved, reference.block.x)
            if kind == "exact":
                pairs = zip(inverse.split(direction), inverse.split(exact.block.x), strict=True)
                record["layers"] = [cosine(d.ravel(), x.ravel()) for d, x in pairs]
        yield record


def _directions(
    estimates: Estimates, exact: Exact, damping: float
) -> Iterator[tuple[str, str, int, Array]]:
    yield GRADIENT, "exact", 0, exact.b
    yield BLOCK, "exact", 0, exact.block.x
    for name, inverses in estimates.inverses.items():
        for draw, inverse in enumerate(inverses):
            for kind in KINDS:
                yield name, kind, draw, getattr(inverse, kind)(exact.b, damping)


def _measures(d: Array, estimates: Estimates, exact: Exact, damping: float) -> dict[str, float]:
    curvature = float(d @ estimates.products[0](d) + damping * (d @ d))
    best = float(exact.b @ exact.full.x)
    return {
        "full": cosine(d, exact.full.x),
        "block": cosine(d, exact.block.x),
        "decrease": float(exact.b @ d) ** 2 / curvature / best,
    }


def batches_of(case: Case, data: Data) -> Iterator[tuple[int, int, Data]]:
    """Yield size, number and content of every batch, the largest size first."""
    for size in sorted(case.batches, reverse=True):
        for number in range(case.batches[size]):
            rng = np.random.default_rng((case.seed, size, number))
            chosen = np.sort(rng.choice(len(data[0]), size, replace=False))
            yield size, number, tuple(array[chosen] for array in data)


def measure_point(
    systems: Systems, data: Data, point: Point, on_part: Callable[[int], None] = lambda _: None
) -> Record:
    """Compare all directions at a point, on every batch and with every damping of the case.

    ``on_part`` is called with the number of examples after each batch and damping.
    """
    case, unit = systems.case, None
    systems.assign(point.parameters)
    references: dict[float, Exact] = {}
    records, solutions, traces = [], [], []
    for size, number, batch in batches_of(case, data):
        estimates = Estimates(systems, systems.prepare(batch), number)
        unit = unit or estimates.mean_eigenvalue
        where: Record = {"batch": size, "number": number}
        traces.append({**where, **estimates.traces})
        for ratio in case.dampings:
            exact = estimates.solve(ratio * unit, case.tolerance)
            reference = references.setdefault(ratio, exact)
            where["ratio"] = ratio
            solutions.append({**where, **_solved(exact)})
            found = compare(estimates, exact, ratio * unit, reference)
            records += [{**where, **record} for record in found]
            on_part(size)
    return {
        "updates": point.updates,
        "damping": point.damping,
        "unit": unit,
        "records": records,
        "solutions": solutions,
        "traces": traces,
    }


def _solved(exact: Exact) -> Record:
    return {
        f"{name}_{field}": getattr(solution, field)
        for name, solution in ((EXACT, exact.full), (BLOCK, exact.block))
        for field in ("iterations", "error")
    }
