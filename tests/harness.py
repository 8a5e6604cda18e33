"""Compile a case's factors once, and evaluate them at many parameters and batches."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn
from tests.cases import BY_NAME, Case, Problem, build
from tests.reference import dense

MODES = {"c": "CVM", "numba": "NUMBA", "jax": "JAX"}
PLAIN = "PLAIN"  # the graph as it was built, Op by Op in Python: compiles in no time
FACTORED = {"KFRA": kfgn.KFRA(), "KFLR": kfgn.KFLR()}
BLOCKS = {"BlockHessian": kfgn.BlockHessian(), "BlockGaussNewton": kfgn.BlockGaussNewton()}
Values = dict[str, np.ndarray]


@dataclass
class Compiled:
    """The curvature of a case as a callable, and the methods that refused it."""

    problem: Problem
    function: Function
    slots: list[tuple[str, str]]
    refusals: dict[str, kfgn.KfgnError] = field(default_factory=dict)

    def __call__(self, values: Values, batch: tuple[np.ndarray, ...]) -> Curvature:
        """Evaluate everything at some parameters on a batch."""
        self.problem.set_values(values)
        arrays = self.function(*batch)
        found = {key: np.asarray(a) for key, a in zip(self.slots, arrays, strict=True)}
        return Curvature(found, self.refusals)


@dataclass
class Curvature:
    """The arrays that came out, by method and weight; a method that refused raises its error."""

    arrays: dict[tuple[str, str], np.ndarray]
    refusals: dict[str, kfgn.KfgnError]

    def _get(self, method: str, key: str) -> np.ndarray:
        if method in self.refusals:
            raise self.refusals[method]
        return self.arrays[method, key]

    def Q(self, method: str, weight: str) -> np.ndarray:
        """Return the input factor of a layer."""
        return self._get(method, f"{weight}.Q")

    def G(self, method: str, weight: str) -> np.ndarray:
        """Return the pre-activation factor of a layer."""
        return self._get(method, f"{weight}.G")

    def block(self, method: str, weight: str) -> np.ndarray:
        """Return a layer's dense block."""
        return self._get(method, f"{weight}.block")


def compile_graph(inputs: list[Any], outputs: Any, mode: str = PLAIN) -> Function:
    """Compile by the mode of that name, ``PLAIN`` among them."""
    chosen = Mode(linker="py", optimizer=None) if mode == PLAIN else mode
    return pytensor.function(inputs, outputs, mode=chosen)


def in_python(inputs: list[Any], outputs: list[Any]) -> Function:
    """Compile a graph as it was built, Op by Op in Python; it need not read all of its inputs."""
    with pytensor.config.change_flags(cxx=""):  # Ops that hold a graph would be compiled to C
        mode = Mode(linker="py", optimizer=None)
        return pytensor.function(inputs, outputs, mode=mode, on_unused_input="ignore")


@cache
def compiled(name: str, mode: str, batch_size: int | None = None) -> Compiled:
    """Compile the factors of the case of that name by every method, in one function."""
    case = BY_NAME[name]
    problem = build(case, case.values(np.random.default_rng(1)), batch_size)
    graph = kfgn.trace_layers(problem.loss, problem.params, output=problem.split)
    names = {id(variable): key for key, variable in problem.shared.items()}
    outputs, slots, refusals = [], [], {}
    for method, choice in (FACTORED | BLOCKS).items():
        try:
            factors = kfgn.curvature_factors(graph, choice)
        except kfgn.CurvatureRuleNotFound as error:
            refusals[method] = error
            continue
        for layer, factor in factors.items():
            weight = names[id(layer.weight)]
            pieces = {"block": factor.to_dense()}
            if method in FACTORED:
                pieces |= {"Q": factor.Q, "G": factor.G}
            for piece, expression in pieces.items():
                outputs.append(expression)
                slots.append((method, f"{weight}.{piece}"))
    function = compile_graph(problem.inputs, outputs, mode)
    return Compiled(problem, function, slots, refusals)


def evaluate(
    case: Case, mode: str, rng: np.random.Generator, n: int
) -> tuple[Curvature, dense.Truth, Values, tuple[np.ndarray, ...]]:
    """Draw parameters and a batch of ``n``; return what the package and the judge make of them."""
    static = n if mode == "JAX" else None
    values, batch = case.values(rng), case.batch(rng, n)
    found = compiled(case.name, mode, static)(values, batch)
    return found, dense.truth(case, values, batch), values, batch


def assert_close(actual: np.ndarray, desired: np.ndarray, tolerance: float) -> None:
    """Compare arrays relative to the largest element, as zeros are met within rounding only."""
    desired = np.asarray(desired)
    assert np.shape(actual) == desired.shape
    scale = max(float(np.abs(desired).max()), 1e-300)
    np.testing.assert_allclose(np.asarray(actual) / scale, desired / scale, rtol=0, atol=tolerance)


def printed_apart(program: str, cache_folder: Path) -> list[list[str]]:
    """Run a program in a process and with a cache of its own; the words of the lines it prints.

    A warning is an error in it.
    """
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTENSOR_FLAGS": f"base_compiledir={cache_folder}"},
    )
    assert run.stderr == ""
    return [line.split() for line in run.stdout.splitlines()]
