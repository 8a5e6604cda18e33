"""What the compiler makes of a network: whether it is read, exact, and trained."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace

import kfgn_graph as kfgn
from experiments.support.catalogue import Entry, Network
from experiments.support.evaluation import evaluated
from experiments.support.judge import Judge, NotLocated
from experiments.support.messages import first_sentence
from experiments.support.opening import opened
from experiments.support.training import Training, train
from experiments.support.unrolling import factors, has_loop, unrolled

Array = np.ndarray
#: The largest difference from brute force, relative to the largest element.
TOLERANCE = 1e-9


@dataclass
class Failure:
    """An error: its class, its first sentence, and whether it is one of the package's errors."""

    error: str
    message: str
    refused: bool

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Describe an error; a crash also says where it was raised."""
        refused = isinstance(error, kfgn.KfgnError)
        message = first_sentence(str(error))
        if not refused:
            where = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{message} ({Path(where.filename).name}:{where.lineno})"
        return cls(type(error).__name__, message, refused)


@dataclass
class Result:
    """A row of the table.

    Attributes
    ----------
    layers : int or None
        The number of layers found; None if the network is not read.
    differences : dict
        For each quantity its largest difference from brute force, relative to its largest
        element; infinite where it is not finite.
    unlocated : int
        The layers whose factors could not be compared.
    curved : bool
        Whether the Gauss-Newton matrix has an element that is not zero.
    failures : dict
        The errors by stage: 'build', 'read', 'product', 'KFLR', 'block', 'KFRA', 'train'.
    training : Training or None
    """

    section: str
    name: str
    description: str
    layers: int | None = None
    differences: dict[str, float] = field(default_factory=dict)
    unlocated: int = 0
    curved: bool = True
    failures: dict[str, Failure] = field(default_factory=dict)
    training: Training | None = None

    @property
    def exact(self) -> bool:
        """Whether everything was compared and agrees."""
        missing = {"product", "KFLR", "block"} & set(self.failures)
        found = self.differences.values()
        return bool(found) and not missing and not self.unlocated and max(found) <= TOLERANCE

    def as_dict(self) -> dict[str, Any]:
        """Return the row for a file, numbers rounded."""
        row = asdict(self)
        row["differences"] = {key: float(f"{v:.1g}") for key, v in self.differences.items()}
        for key in ("before", "after") if self.training is not None else ():
            row["training"][key] = float(f"{row['training'][key]:.4g}")
        return row


def examine(entry: Entry, backend: str = "", updates: int = 30) -> Result:
    """Put a network through the compiler.

    Parameters
    ----------
    entry : Entry
    backend : str
        The backend to train on; empty to train not at all.
    updates : int
        The number of updates to train for.
    """
    result = Result(entry.section, entry.name, entry.description)
    with pytensor.config.change_flags(cxx="", traceback__limit=0):
        network = _attempt(result, "build", entry.build)
        compared = network and _attempt(result, "read", lambda: Comparison(network))
        if compared is None:
            return result
        result.layers = len(compared.graph.layers)
        compared.fill(result)
    if backend:
        result.training = _attempt(result, "train", lambda: train(entry.build, backend, updates))
    return result


def _attempt[T](result: Result, stage: str, act: Callable[[], T]) -> T | None:
    try:
        return act()
    except Exception as error:  # a crash is a row of the table, too
        result.failures[stage] = Failure.of(error)
        return None


class Comparison:
    """The curvature that the compiler finds in a network, beside brute force."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.judge = Judge(opened(network))
        self._unrolled: Network | None = None
        self.graph = kfgn.trace_layers(network.loss, list(network.parameters), **network.options)

    def fill(self, result: Result) -> None:
        """Compare everything, and enter it into a result."""
        loss, z = self._values([self.graph.loss, self.graph.output])
        result.differences["loss"] = _difference(loss, self.judge.loss)
        self._split_at(z)
        result.curved = bool(np.any(self.judge.gauss_newton))
        for stage, act in (
            ("product", self._product),
            ("KFLR", self._factors),
            ("block", self._blocks),
        ):
            found = _attempt(result, stage, act)
            if found is not None:
                differences, unlocated = found
                result.differences |= differences
                result.unlocated += unlocated
        _attempt(result, "KFRA", self._kfra)

    def _split_at(self, z: Array) -> None:
        """Split the loss where the compiler does, if that is found in the network's graph."""
        try:
            self.judge = self.judge.split(z)
        except NotLocated:
            pass  # the network's own outputs: a wrong split shows as a difference

    def _values(self, variables: list[Any]) -> list[Array]:
        return evaluated(self.network.inputs, self.network.batch, variables)

    def _product(self) -> tuple[dict[str, float], int]:
        """Compare the Gauss-Newton matrix times a random direction."""
        rng = np.random.default_rng(0)
        direction = [rng.normal(size=p.get_value().shape) for p in self.network.parameters]
        found = self._values(
            kfgn.gauss_newton_product(self.graph, [pt.constant(d) for d in direction])
        )
        flat = np.concatenate([d.ravel() for d in direction])
        wanted = self.judge.gauss_newton @ flat
        joined = np.concatenate([f.ravel() for f in found])
        scale = float(np.abs(self.judge.gauss_newton).max())
        return {"product": _difference(joined, wanted, scale)}, 0

    def _factors(self) -> tuple[dict[str, float], int]:
        """Compare KFLR's factors of each layer."""
        factors = kfgn.curvature_factors(self.graph, kfgn.KFLR())
        layers = list(self.graph.layers)
        pieces = [(factors[k].Q, factors[k].G, k.input, k.preactivation, k.matrix) for k in layers]
        values = iter(self._values([v for piece in pieces for v in piece]))
        differences, unlocated = {"Q": 0.0, "G": 0.0}, 0
        for layer in layers:
            Q, G, a, h, W = (next(values) for _ in range(5))
            bias = None if layer.bias is None else layer.bias.get_value().ravel()
            try:
                right = (
                    self._copied(layer) if layer.copies else self._located(layer, a, h, W, bias)
                )
            except NotLocated:
                unlocated += 1
                continue
            Q = np.diag(Q) if Q.ndim == 1 else Q
            for key, found, wanted in zip("QG", (Q, G), right, strict=True):
                differences[key] = max(differences[key], _difference(found, wanted))
        return differences, unlocated

    def _located(
        self, layer: Any, a: Array, h: Array, W: Array, bias: Array | None
    ) -> tuple[Array, Array]:
        """Return Q and G of a layer that is found in the graph, or in that of unrolled loops."""
        try:
            return self.judge.factors(a, h, W, bias)
        except NotLocated:
            if not has_loop(self.network):
                raise
        if self._unrolled is None:
            self._unrolled = unrolled(self.judge.at_outputs)
        return factors(self._unrolled, layer.weight, bias is not None)

    def _copied(self, layer: Any) -> tuple[Array, Array]:
        """Return what Q and G are of a parameter of which each example reads a copy."""
        places = self._places(layer)
        return np.ones((1, 1)), self.judge.gauss_newton[np.ix_(places, places)]

    def _blocks(self) -> tuple[dict[str, float], int]:
        """Compare the exact block of each layer, and the diagonals of other parameters."""
        blocks = kfgn.curvature_factors(self.graph, kfgn.BlockGaussNewton())
        values = self._values([block.to_dense() for block in blocks.values()])
        whole, worst = self.judge.gauss_newton, 0.0
        for layer, found in zip(blocks, values, strict=True):
            places = self._places(layer)
            wanted = whole[np.ix_(places, places)]
            if layer in self.graph.diagonal:
                wanted = np.diag(np.diag(wanted))
            worst = max(worst, _difference(found, wanted, float(np.abs(whole).max())))
        return {"block": worst}, 0

    def _kfra(self) -> None:
        factors = kfgn.curvature_factors(self.graph, kfgn.KFRA())
        values = [
            v
            for key, f in factors.items()
            for v in ([f.values] if key in self.graph.diagonal else [f.Q, f.G])
        ]
        for value in self._values(values):
            if not np.isfinite(value).all():
                raise FloatingPointError("KFRA's factors are not finite")

    def _places(self, layer: Any) -> Array:
        """Return the places of [W; b] in the vector of all parameters, row-major."""
        sizes = [p.get_value().size for p in self.network.parameters]
        starts = np.cumsum([0, *sizes])[:-1]
        start = dict(zip(self.network.parameters, starts, strict=True))
        shape = layer.weight.get_value().shape
        if layer in self.graph.diagonal:
            return start[layer.weight] + np.arange(layer.weight.get_value().size)
        numbers = start[layer.weight] + np.arange(float(np.prod(shape))).reshape(shape)
        matrix = graph_replace(layer.matrix, {layer.weight: pt.constant(numbers)}, strict=False)
        rows = self._values([matrix])
        if layer.bias is not None:
            b = layer.bias.get_value().size
            rows.append(start[layer.bias] + np.arange(b).reshape(1, -1))
        return np.concatenate(rows).ravel().astype("int64")


def _difference(found: Any, wanted: Any, scale: float = 0.0) -> float:
    """Return the largest difference, relative to the largest element of ``wanted``."""
    found, wanted = np.asarray(found, "float64"), np.asarray(wanted, "float64")
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    scale = max(scale, float(np.abs(wanted).max(initial=0.0)), 1e-12)
    return float(np.abs(found - wanted).max(initial=0.0)) / scale
