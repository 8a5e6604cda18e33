"""Small matrices of one shape are inverted and averaged by one node on JAX, to the same values."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.rewrites.like_shapes import (
    GROUP_LIKE_SHAPES,
    LEAST,
    WIDEST,
    FactorAverages,
    RefreshedInverses,
)
from kfgn_graph.curvature.kronecker import MANY_LAYERS, KroneckerFactors, all_factor_shifts
from kfgn_graph.linalg.averages import FactorAverage
from kfgn_graph.linalg.matrices import RefreshedInverse
from kfgn_graph.linalg.vectors import MANY_SMALL, inner
from tests.stepping import on_backends

pytestmark = pytest.mark.parametrize("backend", on_backends(["jax"]))


def mode_of(backend: str, grouped: bool) -> Any:
    """Return the backend's mode, with or without groups."""
    mode = resolve_backend(backend, None).mode()
    return mode if grouped else mode.excluding(GROUP_LIKE_SHAPES)


def widths_of(last: int = 3) -> list[int]:
    """Return widths of matrices in two groups, interleaved, and of one matrix by itself."""
    return [*[2, 3] * LEAST, last]


@cache
def inverses_on(backend: str, grouped: bool) -> Any:
    """Compile refreshed inverses of all widths, and the conjunction of their flags."""
    olds, matrices = (
        [pt.matrix(f"{name}{i}", shape=(d, d)) for i, d in enumerate(widths_of(5))]
        for name in "BA"
    )
    shifts, due = pt.vector("s", shape=(len(olds),)), pt.scalar("due", dtype="bool")
    op = RefreshedInverse(retry=1000.0)
    pairs = [
        op(old, A, shifts[i], due) for i, (old, A) in enumerate(zip(olds, matrices, strict=True))
    ]
    outputs = [*(new for new, _ in pairs), pt.all(pt.stack([flag for _, flag in pairs]))]
    return pytensor.function(
        [*olds, *matrices, shifts, due], outputs, mode=mode_of(backend, grouped)
    )


def count(function: Any, kind: type) -> int:
    """Return the number of nodes of one kind."""
    return sum(isinstance(node.op, kind) for node in function.maker.fgraph.apply_nodes)


@pytest.mark.parametrize("fault", [None, "indefinite", "slightly indefinite", "nan"])
@pytest.mark.parametrize("due", [True, False])
def test_grouped_inverses_are_those_of_single_nodes(
    fault: str | None, due: bool, backend: str, rng: np.random.Generator
) -> None:
    olds = [np.full((d, d), 7.0) for d in widths_of(5)]
    roots = [rng.standard_normal((2 * d, d)) for d in widths_of(5)]
    matrices = [X.T @ X for X in roots]
    if fault:
        matrices[4] *= np.nan if fault == "nan" else 1
        matrices[4][0, 0] = {"indefinite": -1e9}.get(fault, -50.0)
    shifts = 0.1 + rng.random(len(olds))
    arguments = [*olds, *matrices, shifts, np.asarray(due)]
    got, want = (inverses_on(backend, grouped)(*arguments) for grouped in (True, False))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert bool(got[-1]) == (not due or fault in (None, "slightly indefinite"))


def test_one_node_inverts_all_matrices_of_one_shape(backend: str) -> None:
    function = inverses_on(backend, True)
    assert (count(function, RefreshedInverses), count(function, RefreshedInverse)) == (2, 1)


@cache
def averages_on(backend: str, grouped: bool) -> Any:
    """Compile a chain of averages of all widths, with one that is too wide within."""
    widths = [*widths_of(), WIDEST + 1, *widths_of()]
    olds, news = (
        [pt.matrix(f"{name}{i}", shape=(d, d)) for i, d in enumerate(widths)] for name in "on"
    )
    weight, sound = pt.scalar("w"), pt.scalar("sound", dtype="bool")
    averages, flag = [], sound
    for old, new in zip(olds, news, strict=True):
        average, flag = FactorAverage()(old, new, weight, flag)
        averages.append(average)
    return pytensor.function(
        [*olds, *news, weight, sound], [*averages, flag], mode=mode_of(backend, grouped)
    )


@pytest.mark.parametrize("fault", [None, 0, 5, len(widths_of()), len(widths_of()) + 3])
def test_grouped_averages_are_those_of_a_chain(
    fault: int | None, backend: str, rng: np.random.Generator
) -> None:
    widths = [*widths_of(), WIDEST + 1, *widths_of()]
    olds, news = ([rng.standard_normal((d, d)) for d in widths] for _ in range(2))
    if fault is not None:
        news[fault][1, 1] = np.inf
    for sound in (True, False):
        arguments = [*olds, *news, np.asarray(0.7), np.asarray(sound)]
        got, want = (averages_on(backend, grouped)(*arguments) for grouped in (True, False))
        for i, (a, b) in enumerate(zip(got[:-1], want[:-1], strict=True)):
            np.testing.assert_allclose(a, b, rtol=1e-12)
            kept = not sound or (fault is not None and i >= fault)
            assert np.array_equal(a, olds[i]) == kept
        assert bool(got[-1]) == bool(want[-1]) == (sound and fault is None)
    function = averages_on(backend, True)
    assert (count(function, FactorAverages), count(function, FactorAverage)) == (2, 1)


def test_shifts_and_inner_products_of_many_layers(backend: str, rng: np.random.Generator) -> None:
    n = MANY_LAYERS + MANY_SMALL
    Qs, Gs = ([pt.constant(np.diag(rng.random(d))) for _ in range(n)] for d in (3, 2))
    blocks = [KroneckerFactors(Q, G) for Q, G in zip(Qs, Gs, strict=True)]
    gammas = [pt.constant(rng.random()) for _ in blocks]
    shifts = all_factor_shifts(blocks, gammas)
    params = [pytensor.shared(rng.standard_normal((3, 2)), shape=(3, 2)) for _ in blocks]
    product = inner(*[{p: c * p for p in params} for c in (2.0, 3.0)])
    mode = mode_of(backend, True)
    function = pytensor.function([], [pt.stack(pair) for pair in shifts] + [product], mode=mode)
    *got, value = function()
    for block, gamma, (q, g) in zip(blocks, gammas, got, strict=True):
        pi = np.sqrt((np.trace(block.Q.data) / 3) / (np.trace(block.G.data) / 2))
        np.testing.assert_allclose([q, g], [pi * gamma.data, gamma.data / pi], rtol=1e-12)
    want = 6 * sum((p.get_value() ** 2).sum() for p in params)
    np.testing.assert_allclose(value, want, rtol=1e-12)
