"""Statement (ii): gradient ascent finds no smooth strict local maximum."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.replace import clone_replace, vectorize_graph

from experiments.small_networks import (
    KINKS,
    DenseMatrix,
    SmallNetwork,
    compile_in_python,
    draw_batch,
    draw_parameters,
    full_hessian,
    small_network,
)

Array = np.ndarray
STATIONARY = 1e-8
"""Norm of the gradient at which an ascent ends."""
COLLAPSED = 1e-13
"""Length of a step, relative to 1 + the norm of the parameters, at which an ascent ends."""
FAR = 1e4
"""Norm of the parameters, or value of the loss, at which an ascent has diverged."""
NEAR_KINK = 1e-6
"""Distance of a pre-activation from a kink that counts as being there."""
SMALL = 1e-7
"""Of eigenvalues: relative to the largest, and absolute for a Hessian that is zero."""


NEARLY = 1e-2
"""Eigenvalues that Newton's method takes for zero, relative to the largest."""


class End(StrEnum):
    """Where an ascent ends.

    A stationary point has a gradient below ``STATIONARY`` and no pre-activation within
    ``NEAR_KINK`` of a kink. It is a *strict maximum* if all eigenvalues of the Hessian are
    negative, a *weak maximum* if some are zero, and *flat* if all are. At a *kink* the step length
    has collapsed while the gradient has not, and a pre-activation is at a kink.
    """

    DIVERGES = "diverges"
    KINK = "kink"
    FLAT = "flat"
    STRICT = "strict smooth maximum"
    WEAK = "weak smooth maximum"
    OTHER = "stationary, not a maximum"
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Climb:
    """One kind of ascent.

    Attributes
    ----------
    activation, loss : str
        Names, as in ``experiments.small_networks``.
    layer : int or None
        The layer whose parameters move, from 0; None for all parameters.
    planted : bool
        Whether the targets are the network's own outputs, and the starts lie near those
        parameters. Otherwise targets and starts are random.
    sizes : tuple of int
        Widths.
    examples : int
        N.
    spread : float
        Each example is multiplied with exp(spread z), z normal: 0 for plain normal examples.
    """

    activation: str
    loss: str
    layer: int | None
    planted: bool = False
    sizes: tuple[int, ...] = (2, 3, 3, 1)
    examples: int = 4
    spread: float = 0.0


class Stack:
    """The loss, gradient and pre-activations of many networks with a batch each, in one call."""

    def __init__(self, network: SmallNetwork) -> None:
        single = [p.type() for p in network.parameters]
        replaced = dict(zip(network.parameters, single, strict=True))
        value, *hidden = clone_replace(
            [network.value, *network.preactivations], replaced, rebuild_strict=False
        )
        arguments = [network.x, network.y, *single]
        stacked = [pt.tensor(dtype="float64", shape=(None,) * (v.ndim + 1)) for v in arguments]
        outputs = [value, *pytensor.grad(value, single), *hidden]
        batched = vectorize_graph(outputs, dict(zip(arguments, stacked, strict=True)))
        self._function = compile_in_python(stacked, batched)
        self._count = len(single)

    def __call__(
        self, batch: tuple[Array, Array], parameters: Sequence[Array]
    ) -> tuple[Array, list[Array], list[Array]]:
        """Return losses (S,), gradients and pre-activations, each with S as its first axis."""
        value, *rest = self._function(*batch, *parameters)
        return value, rest[: self._count], rest[self._count :]


def climb(kind: Climb, starts: int, seed: int, iterations: int = 10_000) -> Counter[End]:
    """Ascend from random starts by steps along the gradient, and classify where each ends.

    A step is taken if the loss rises by at least 1e-4 of what the gradient promises; the step
    length then grows by half, and shrinks to 0.3 of itself otherwise.
    """
    network = small_network(kind.activation, kind.loss, len(kind.sizes) - 1)
    evaluate = Stack(network)
    batch, parameters = draw_starts(kind, evaluate, starts, np.random.default_rng(seed))
    with np.errstate(over="ignore", invalid="ignore"):  # a step too far is not taken
        ended = ascend(evaluate, batch, parameters, kind.layer, iterations)
    hessian = full_hessian(network, kind.layer)
    ends: Counter[End] = Counter()
    for number, end in enumerate(ended):
        network.assign([p[number] for p in parameters])
        inputs = batch[0][number], batch[1][number]
        if end == "unfinished":
            end = polish(evaluate, inputs, network, hessian)
        ends[classify(end, evaluate, inputs, network, hessian, kind)] += 1
    return ends


def draw_starts(
    kind: Climb, evaluate: Stack, starts: int, rng: np.random.Generator
) -> tuple[tuple[Array, Array], list[Array]]:
    """Draw data and parameters for every start, stacked."""
    drawn = [
        (
            *draw_batch(rng, kind.loss, kind.examples, kind.sizes[0], kind.sizes[-1]),
            *draw_parameters(rng, kind.sizes),
        )
        for _ in range(starts)
    ]
    x, y, *parameters = (np.stack(parts) for parts in zip(*drawn, strict=True))
    x *= np.exp(kind.spread * rng.normal(size=(*x.shape[:2], 1)))
    if kind.planted:
        y = evaluate((x, y), parameters)[2][-1]
        for part in _moving(parameters, kind.layer):
            part += 0.005 * rng.normal(size=part.shape)
    return (x, y), parameters


def _moving(parts: list[Array], layer: int | None) -> list[Array]:
    return parts if layer is None else parts[2 * layer : 2 * layer + 2]


def ascend(
    evaluate: Stack,
    batch: tuple[Array, Array],
    parameters: list[Array],
    layer: int | None,
    iterations: int,
) -> list[str]:
    """Move the parameters, in place, up the gradient; says why each ascent stopped.

    Returns
    -------
    list of str
        For each start ``"diverges"``, ``"stationary"``, ``"collapsed"`` or ``"unfinished"``.
    """
    value, gradients, _ = evaluate(batch, parameters)
    moving, slopes = _moving(parameters, layer), _moving(gradients, layer)
    step, why = np.full(len(value), 0.1), np.full(len(value), "unfinished", dtype=object)
    for _ in range(iterations):
        norm = _norm(slopes)
        size = _norm(moving)
        why[(size > FAR) | (value > FAR)] = "diverges"
        why[(why == "unfinished") & (norm < STATIONARY)] = "stationary"
        why[(why == "unfinished") & (step * norm < COLLAPSED * (1 + size))] = "collapsed"
        active = why == "unfinished"
        if not active.any():
            break
        before = [part.copy() for part in moving]
        for part, slope in zip(moving, slopes, strict=True):
            part += _shaped(np.where(active, step, 0.0), part) * slope
        new, gradients, _ = evaluate(batch, parameters)
        found = _moving(gradients, layer)
        finite = np.isfinite(new) & np.isfinite(_norm(found))
        taken = active & finite & (new >= value + 1e-4 * step * norm**2)
        for part, old, slope, other in zip(moving, before, slopes, found, strict=True):
            keep = _shaped(taken, part)
            part[...] = np.where(keep, part, old)
            slope[...] = np.where(keep, other, slope)
        value = np.where(taken, new, value)
        step = np.where(taken, 1.5 * step, 0.3 * step)
    return list(why)


def _norm(parts: list[Array]) -> Array:
    return np.sqrt(sum((part.reshape(len(part), -1) ** 2).sum(axis=1) for part in parts))


def _shaped(values: Array, part: Array) -> Array:
    """Return one value per start, shaped to multiply with a stack of arrays."""
    return values.reshape(-1, *(1,) * (part.ndim - 1))


def polish(
    evaluate: Stack,
    batch: tuple[Array, Array],
    network: SmallNetwork,
    hessian: DenseMatrix,
    steps: int = 30,
) -> str:
    """Finish a slow ascent by Newton's method, where curvature is negative or nearly zero.

    Returns
    -------
    str
        ``"stationary"`` if the gradient fell below its bound, else ``"unfinished"``; then the
        parameters are those of the start.
    """
    start = [p.get_value() for p in hessian.parameters]
    chosen = [network.parameters.index(p) for p in hessian.parameters]
    for _ in range(steps):
        stacked = [p.get_value()[None] for p in network.parameters]
        _, gradients, _ = evaluate((batch[0][None], batch[1][None]), stacked)
        slope = np.concatenate([gradients[number].ravel() for number in chosen])
        if np.linalg.norm(slope) < STATIONARY:
            return "stationary"
        eigenvalues, vectors = np.linalg.eigh(hessian(*batch))
        size = np.abs(eigenvalues).max()
        if eigenvalues[-1] > NEARLY * size:
            break
        curved = eigenvalues < -SMALL * size
        v = vectors[:, curved]
        _add(hessian, -v @ ((v.T @ slope) / eigenvalues[curved]))
    for parameter, value in zip(hessian.parameters, start, strict=True):
        parameter.set_value(value)
    return "unfinished"


def _add(hessian: DenseMatrix, step: Array) -> None:
    """Add a vector to the parameters of a Hessian, which are in row-major order, joined."""
    for parameter in hessian.parameters:
        value = parameter.get_value()
        parameter.set_value(value + step[: value.size].reshape(value.shape))
        step = step[value.size :]


def classify(
    why: str,
    evaluate: Stack,
    batch: tuple[Array, Array],
    network: SmallNetwork,
    hessian: DenseMatrix,
    kind: Climb,
) -> End:
    """Say what the end point of an ascent is; the network has its parameters."""
    if why in ("diverges", "unfinished"):
        return End(why)
    stacked = [p.get_value()[None] for p in network.parameters]
    _, _, hidden = evaluate((batch[0][None], batch[1][None]), stacked)
    distances = [np.abs(h - kink).min() for h in hidden[:-1] for kink in KINKS[kind.activation]]
    if distances and min(distances) < NEAR_KINK:
        return End.KINK
    return End.UNFINISHED if why == "collapsed" else of_curvature(hessian(*batch))


def of_curvature(hessian: Array) -> End:
    """Say what a smooth stationary point is by the eigenvalues of its Hessian."""
    eigenvalues = np.linalg.eigvalsh(hessian)
    size = np.abs(eigenvalues).max()
    if size < SMALL:
        return End.FLAT
    if eigenvalues[-1] > SMALL * size:
        return End.OTHER
    return End.STRICT if eigenvalues[-1] < -SMALL * size else End.WEAK
