"""Loops over time (``pytensor.scan``): their parameters, judged by loops that are written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from pytensor.scan.utils import until

import kfgn_graph as kfgn
from experiments.support.catalogue import Network
from experiments.support.checks import TOLERANCE, Comparison, Result

N, T, D, H = 4, 3, 2, 3


def shared(rng: np.random.Generator, name: str, *shape: int) -> Any:
    return pytensor.shared(rng.normal(size=shape) * 0.7, name=name)


def recurrent(kind: str, **options: Any) -> Network:
    """Return a network whose hidden states (T, N, H) are a loop's, with squared error."""
    rng = np.random.default_rng(3)
    x, y = pt.tensor3("x"), pt.matrix("y")  # (N, T, D)
    W, U, b = shared(rng, "W", D, H), shared(rng, "U", H, H), shared(rng, "b", H)
    V, s = shared(rng, "V", H, 2), shared(rng, "s", H)
    zeros = pt.zeros((x.shape[0], H))

    def plain(x_t, h):
        return pt.tanh(x_t @ W + h @ U + b)

    def scaled(x_t, h):
        return pt.tanh(x_t @ W + s * h + h @ U + b)

    def two_taps(x_t, earlier, h):
        return pt.tanh(x_t @ W + h @ U + b) + 0.5 * earlier

    step = {"plain": plain, "scaled": scaled, "two taps": two_taps}[kind]
    info: Any = zeros
    if kind == "two taps":
        info = {"initial": pt.stack([zeros, zeros + 1.0]), "taps": [-2, -1]}
    h = pytensor.scan(
        step,
        sequences=x.dimshuffle(1, 0, 2),
        outputs_info=[info],
        return_updates=False,
        **options,
    )
    z = h[-1] @ V
    parameters = [W, U, b, V, *([s] if kind == "scaled" else [])]
    batch = [rng.normal(size=(N, T, D)), rng.normal(size=(N, 2))]
    return Network(((z - y) ** 2).mean(), parameters, [x, y], batch, [z])


def with_encoder() -> Network:
    """Return a network whose first state is a layer's, with a loss of every step and a mask."""
    rng = np.random.default_rng(5)
    x, mask, c, y = pt.tensor3("x"), pt.matrix("mask"), pt.matrix("c"), pt.tensor3("y")
    W, U, b = shared(rng, "W", D, H), shared(rng, "U", H, H), shared(rng, "b", H)
    A, V = shared(rng, "A", 2, H), shared(rng, "V", H, 2)

    def step(x_t, m_t, h):  # (N, D), (N,), (N, H)
        new = pt.tanh(x_t @ W + h @ U + b)
        return m_t[:, None] * new + (1 - m_t)[:, None] * h

    h = pytensor.scan(
        step, sequences=[x, mask], outputs_info=[c @ A], return_updates=False, go_backwards=True
    )
    z = h[::-1] @ V  # (T, N, 2)
    batch = [rng.normal(size=s) for s in ((2, 3, D), (3, 2), (2, 3, 2))]
    batch.insert(1, np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]))
    return Network(((z - y) ** 2).mean(), [W, U, b, A, V], [x, mask, c, y], batch, [z])


NETWORKS = {
    "plain": lambda: recurrent("plain"),
    "scale in a step": lambda: recurrent("scaled"),
    "two taps": lambda: recurrent("two taps"),
    "encoder, mask, backwards": with_encoder,
}


QUICK = {"plain"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in NETWORKS],
)
def test_a_loop_is_exact(name: str) -> None:
    """The loss, J^T H J v, KFLR's factors and the exact blocks are those of brute force."""
    with pytensor.config.change_flags(cxx=""):
        compared, result = Comparison(NETWORKS[name]()), Result("", name, "")
        compared.fill(result)
    assert set(result.differences) == {"loss", "product", "Q", "G", "block"}
    assert max(result.differences.values()) <= TOLERANCE, result.differences
    assert result.unlocated == 0


def test_the_gradient_is_that_of_the_loop() -> None:
    network = recurrent("plain")
    mode = Mode(linker="py", optimizer=None)
    with pytensor.config.change_flags(cxx=""):
        graph = kfgn.trace_layers(network.loss, list(network.parameters))
        own = pytensor.grad(graph.loss, list(network.parameters))
        right = pytensor.grad(network.loss, list(network.parameters))
        values = pytensor.function(list(network.inputs), [*own, *right], mode=mode)(*network.batch)
    for found, wanted in zip(values[: len(own)], values[len(own) :], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_kfra_refuses_a_loop_and_auto_does_not() -> None:
    network = recurrent("plain")
    graph = kfgn.trace_layers(network.loss, list(network.parameters))
    with pytest.raises(kfgn.CurvatureRuleNotFound, match="Recurrence"):
        kfgn.curvature_factors(graph, kfgn.KFRA())
    assert isinstance(kfgn.Auto().for_graph(graph), kfgn.KFLR)


def test_a_truncated_gradient_is_refused() -> None:
    network = recurrent("plain", truncate_gradient=2)
    with pytest.raises(kfgn.UnmatchedParameterError, match="truncate_gradient"):
        kfgn.trace_layers(network.loss, list(network.parameters))


def test_a_loop_with_a_condition_is_refused() -> None:
    rng = np.random.default_rng(0)
    x, W = pt.matrix("x"), shared(rng, "W", D, D)

    def step(h):
        h = pt.tanh(h @ W)
        return h, until(pt.lt(abs(h).max(), 0.1))

    h = pytensor.scan(step, outputs_info=[x], n_steps=4, return_updates=False)
    with pytest.raises(kfgn.UnmatchedParameterError, match="until"):
        kfgn.trace_layers((h[-1] ** 2).mean(), [W])


def test_a_step_that_mixes_examples_is_refused() -> None:
    rng = np.random.default_rng(0)
    x, W = pt.tensor3("x"), shared(rng, "W", D, D)

    def step(x_t, h):
        return pt.tanh(x_t + (h - h.mean(axis=0)) @ W)

    start = pt.zeros((x.shape[0], D))
    h = pytensor.scan(
        step, sequences=x.dimshuffle(1, 0, 2), outputs_info=[start], return_updates=False
    )
    with pytest.raises(kfgn.NotABatchLossError):
        kfgn.trace_layers((h[-1] ** 2).mean(), [W])


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("jax", "plain"),
        pytest.param("numba", "plain", marks=pytest.mark.slow),
        pytest.param("jax", "encoder, mask, backwards", marks=pytest.mark.slow),
    ],
)
def test_a_loop_trains(backend: str, name: str) -> None:
    """Also where the time is on the first axis of the data."""
    network = NETWORKS[name]()
    update = kfgn.compile_update(
        network.loss, list(network.parameters), list(network.inputs), backend=backend
    )
    losses = [float(update(*network.batch).loss) for _ in range(6)]
    assert losses[-1] < 0.7 * losses[0]
