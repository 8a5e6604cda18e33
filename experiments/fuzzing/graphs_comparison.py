"""Comparison of what the compiler finds in a random graph with what is true of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn
from experiments.fuzzing.graphs_cases import Case, Problem
from experiments.fuzzing.graphs_judge import NotLocated, Split, Truth, mixed

Array = np.ndarray
Check = Callable[[Array], None]


class Fault(Exception):
    """A value that is not what it should be."""


def python_function(inputs: list[Any], outputs: list[Any], updates: Any = None) -> Any:
    """Compile a graph as it is, Op by Op in Python."""
    with pytensor.config.change_flags(cxx=""):
        mode = Mode(linker="py", optimizer=None)
        return pytensor.function(
            inputs, outputs, mode=mode, on_unused_input="ignore", updates=updates
        )


def check(what: str, found: Any, wanted: Any, dtype: str, scale: float = 0.0) -> None:
    """Raise :class:`Fault` unless two arrays agree, relative to the largest element."""
    found, wanted = np.asarray(found, "float64"), np.asarray(wanted, "float64")
    if found.shape != wanted.shape:
        raise Fault(f"{what}\nshape {found.shape} instead of {wanted.shape}")
    if not found.size:
        return
    least = 1e-6 if dtype == "float64" else 0.1  # float32 cancels in p (1 - p)
    scale = max(float(np.abs(wanted).max()), scale, least)
    tolerance = 1e-7 if dtype == "float64" else 2e-3
    if not np.abs(found - wanted).max() <= tolerance * scale:
        raise Fault(f"{what}\n{found}\ninstead of\n{wanted}")


class Comparison:
    """The expressions of a graph's curvature, and what each has to be.

    Parameters
    ----------
    case : Case
    problem : Problem
        Its PyTensor graph.
    """

    def __init__(self, case: Case, problem: Problem) -> None:
        self.case, self.problem = case, problem
        self.names = [p.name for p in problem.trained]
        self.rng = case.choices("comparison")
        self.graph = kfgn.trace_layers(
            problem.loss, problem.trained, problem.output, problem.treatment
        )
        self.truth = Truth(case, self.names)
        self.refused: list[str] = []

    def _blocks(self, method: Any) -> dict[Any, Any]:
        """Return the blocks of a method; none if it refuses the network."""
        try:
            return dict(kfgn.curvature_factors(self.graph, method))
        except kfgn.CurvatureRuleNotFound:
            self.refused.append(type(method).__name__)
            return {}

    def outcome(self) -> str:
        """Evaluate and compare everything; return the outcome."""
        graph, problem, dtype = self.graph, self.problem, self.case.draw.dtype
        layers = list(graph.layers)
        moving = [p for p in problem.trained if not self._is_frozen(p)]
        gradients = [
            g.astype(dtype)
            for g in pytensor.grad(graph.loss, moving, disconnected_inputs="ignore")
        ]
        direction = [
            np.random.default_rng(0).normal(size=p.get_value().shape).astype(dtype)
            for p in problem.trained
        ]
        tangents = [pt.constant(d, dtype=dtype) for d in direction]
        product = kfgn.gauss_newton_product(graph, tangents)
        found: dict[str, list[Any]] = {
            "seen": [
                graph.loss,
                graph.output,
                *(v for k in layers for v in (k.input, k.preactivation)),
            ],
            "gradient": list(gradients),
            "product": product,
        }
        kflr = self._blocks(kfgn.KFLR())
        found["KFLR"] = [v for k in layers if k in kflr for v in (kflr[k].Q, kflr[k].G)]
        exact = self._blocks(kfgn.BlockGaussNewton()) if self.rng.random() < 0.6 else {}
        found["block"] = [v for k in layers if k in exact for v in _parts(exact[k])]
        second = self._blocks(kfgn.BlockHessian()) if self.rng.random() < 0.3 else {}
        found["Hessian"] = [v for k in layers if k in second for v in _parts(second[k])]
        kfra = self._blocks(kfgn.KFRA()) if self.rng.random() < 0.3 else {}
        found["KFRA"] = [v for k in layers if k in kfra for v in (kfra[k].Q, kfra[k].G)]
        function = python_function(problem.inputs, [v for part in found.values() for v in part])
        values = iter(function(*problem.batch))
        for key in ("product", "KFLR", "KFRA"):
            kinds = {v.type.dtype for v in found[key]} - {dtype}
            if kinds:
                raise Fault(f"{key} is computed in {kinds}")
        got = {key: [next(values) for _ in part] for key, part in found.items()}
        return self._compare(got, moving, direction, layers)

    def _is_frozen(self, p: Any) -> bool:
        return self.problem.treatment == "freeze" and p in self.graph.unmatched

    def _compare(
        self,
        got: dict[str, list[Any]],
        moving: list[Any],
        direction: list[Array],
        layers: list[Any],
    ) -> str:
        truth, dtype = self.truth, self.case.draw.dtype
        if not truth.finite():
            return "not finite"
        loss, z, *seen = got["seen"]
        check("loss", loss, truth.loss.value, dtype)
        if truth.tape.ties:
            return "accepted at a kink"
        biggest = max(float(np.abs(truth.loss.gradient()).max()), 1e-3)
        for p, g in zip(moving, got["gradient"], strict=True):
            check("gradient", g, truth.gradient(p.name), dtype, biggest)
        try:
            split = truth.split(np.asarray(z, "float64"))
        except NotLocated:
            return "accepted, split not located"
        if not np.isfinite(split.hessian).all():
            return "accepted, curvature not finite"
        rows = int(np.prod(z.shape[: self.graph.example_axes[self.graph.output]]))
        if mixed(split, rows) > 1e-6 * max(1.0, float(np.abs(split.hessian).max())):
            raise Fault("mixes examples")
        self._compare_matrix(got, split, direction, layers)
        return self._compare_factors(got, split, seen, layers)

    def _compare_matrix(
        self, got: dict[str, list[Any]], split: Split, direction: list[Array], layers: list[Any]
    ) -> None:
        truth, dtype = self.truth, self.case.draw.dtype
        matrix = truth.gauss_newton(split)
        lost = truth.rounding(truth.jacobian(split))
        whole = max(float(np.abs(matrix).max()), lost)
        product = matrix @ np.concatenate([d.ravel() for d in direction])
        scale = max(float(np.abs(matrix).sum(axis=1).max()), lost)
        for name, part in zip(self.names, got["product"], strict=True):
            check("Gauss-Newton product", np.ravel(part), product[truth.spans[name]], dtype, scale)
        for layer, block in zip(layers, _dense(got["block"]), strict=False):
            places = self._places(layer)
            check("exact block", block, matrix[np.ix_(places, places)], dtype, whole)
        if self.graph.penalty is None and got["Hessian"]:
            hessian = truth.loss.hessian()
            whole = max(float(np.abs(hessian).max()), lost)
            for layer, block in zip(layers, _dense(got["Hessian"]), strict=False):
                places = self._places(layer)
                check("Hessian block", block, hessian[np.ix_(places, places)], dtype, whole)

    def _places(self, layer: Any) -> Array:
        """Return the places of [W; b] in the vector of all parameters, row-major."""
        spans = self.truth.spans
        shape = self.case.draw.parameters[layer.weight.name].shape
        W = np.arange(spans[layer.weight.name].start, spans[layer.weight.name].stop).reshape(shape)
        rows = [np.atleast_2d(W.T) if layer.transposed or W.ndim == 1 else W]
        rows[0] = W[:, None] if W.ndim == 1 else rows[0]
        if layer.bias is not None:
            span = spans[layer.bias.name]
            rows.append(np.arange(span.start, span.stop).reshape(1, -1))
        return np.concatenate(rows).ravel()

    def _compare_factors(
        self, got: dict[str, list[Any]], split: Split, seen: list[Any], layers: list[Any]
    ) -> str:
        dtype, unlocated = self.case.draw.dtype, False
        one = self.graph.example_axes[self.graph.output] == 1 and self.case.draw.count == 1
        for key in ("KFLR", "KFRA") if one else ("KFLR",):
            for k, layer in enumerate(layers if got[key] else []):
                a, h = (np.asarray(v, "float64") for v in seen[2 * k : 2 * k + 2])
                try:
                    Q, G, lost = self.truth.factors(split, a, h, layer.bias is not None)
                except NotLocated:
                    unlocated = True
                    continue
                check(f"{key}'s Q", got[key][2 * k], Q, dtype)
                check(f"{key}'s G", got[key][2 * k + 1], G, dtype, lost)
        if not np.isfinite(np.concatenate([np.ravel(v) for v in [*got["KFRA"], 0.0]])).all():
            raise Fault("KFRA's factor is not finite")
        refused = f", without {' and '.join(self.refused)}" if self.refused else ""
        return f"accepted{', layer not located' if unlocated else ''}{refused}"


def _parts(block: Any) -> list[Any]:
    """Return the inputs and the curvature of an exact block."""
    return [block.inputs, block.curvature]


def _dense(parts: list[Array]) -> list[Array]:
    """Return exact blocks as matrices over row-major [W; b]."""
    blocks = []
    for a, H in zip(parts[::2], parts[1::2], strict=True):
        block = np.einsum("nti,ntjuk,nul->ijlk", a, H, a)
        side = block.shape[0] * block.shape[1]
        blocks.append(block.reshape(side, side))
    return blocks


def compared(case: Case) -> str:
    """Return the outcome of a graph; raises what the package raises, or :class:`Fault`."""
    with pytensor.config.change_flags(traceback__limit=0):
        return Comparison(case, problem_of(case)).outcome()


def overflows(case: Case) -> bool:
    """Return whether PyTensor's own loss or gradient of a graph is not finite.

    The graph is evaluated as it is, and with whole-number features in the dtype of the
    parameters, in which the package computes. PyTensor promotes a product of int64 and float32 to
    float64, where ``exp(2 * h)`` overflows later.
    """
    return not (finite(case) and finite(with_float_features(case)))


def finite(case: Case) -> bool:
    """Return whether PyTensor's loss and gradient of a graph are finite."""
    return all(np.isfinite(v).all() for v in plain_gradient(case))


def inexact(case: Case) -> bool:
    """Return whether PyTensor's own gradient of a graph differs from the true one.

    That of ``exp(s) / sum(exp(s))`` is all rounding where s is some hundreds.
    """
    problem = problem_of(case)
    truth = Truth(case, [p.name for p in problem.trained])
    biggest = max(float(np.abs(truth.loss.gradient()).max()), 1e-3)
    try:
        for p, g in zip(problem.trained, plain_gradient(case)[1:], strict=True):
            check("gradient", g, truth.gradient(p.name), case.draw.dtype, biggest)
    except Fault:
        return True
    return False


def plain_gradient(case: Case) -> list[Array]:
    """Return the loss and the gradient of a graph as PyTensor has them, without the package."""
    problem = problem_of(case)
    gradients = pytensor.grad(problem.loss, problem.trained, disconnected_inputs="ignore")
    with warnings.catch_warnings(action="ignore"):
        function = python_function(problem.inputs, [problem.loss, *gradients])
        return [np.asarray(v) for v in function(*problem.batch)]


def with_float_features(case: Case) -> Case:
    """Return a case whose features have the dtype of the parameters."""
    data = {
        name: replace(datum, array=datum.array.astype(case.draw.dtype))
        if name.startswith("x")
        else datum
        for name, datum in case.draw.data.items()
    }
    return replace(case, draw=replace(case.draw, data=data))


def problem_of(case: Case) -> Problem:
    """Return a case's PyTensor graph, without the warnings of PyTensor about it."""
    with warnings.catch_warnings(action="ignore"):
        return case.problem()
