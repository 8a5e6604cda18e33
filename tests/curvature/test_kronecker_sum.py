"""The block of a weight read as W and as W^T: a sum of two Kronecker products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn
from tests.harness import MODES
from tests.matrices import semidefinite
from tests.stepping import on_backends

EXACT = 1e-9
PLAIN = Mode(linker="py", optimizer=None)
SHAPES = [(4, 3, False), (4, 3, True), (2, 5, True), (1, 1, False)]

Array = np.ndarray


def symbols(bias: bool) -> tuple[list[Any], kfgn.KroneckerSum]:
    found = [pt.dmatrix(name) for name in ("Q", "G", "Q_transposed", "G_transposed", "V")]
    return found, kfgn.KroneckerSum(*found[:4])


def drawn(rng: np.random.Generator, d_in: int, d_out: int, bias: bool) -> list[Array]:
    """Return Q, G, Q', G' and V; the bias is the last coordinate of Q and V."""
    sizes = (d_in + bias, d_out, d_out, d_in)
    factors = [semidefinite(rng, n, None if k % 2 else 1) for k, n in enumerate(sizes)]
    return [*factors, rng.normal(size=(d_in + bias, d_out))]


def padded(G: Array, size: int) -> Array:
    out = np.zeros((size, size))
    out[: len(G), : len(G)] = G
    return out


def damped_product(Q: Array, G: Array, gamma: float) -> Array:
    q, g = np.trace(Q) / len(Q), np.trace(G) / len(G)
    pi = np.sqrt(q / g)
    return np.kron(Q + pi * gamma * np.eye(len(Q)), G + gamma / pi * np.eye(len(G)))


def dense_solution(values: list[Array], gamma: float) -> Array:
    Q, G, Qt, Gt, V = values
    half = gamma / np.sqrt(2)
    block = damped_product(Q, G, half) + damped_product(padded(Gt, len(Q)), Qt, half)
    return np.linalg.solve(block, V.ravel()).reshape(V.shape)


@pytest.mark.parametrize(("d_in", "d_out", "bias"), SHAPES)
@pytest.mark.parametrize("gamma", [1e-2, 0.5, 20.0])
def test_the_sum_is_solved_exactly(
    d_in: int, d_out: int, bias: bool, gamma: float, rng: np.random.Generator
) -> None:
    inputs, block = symbols(bias)
    values = drawn(rng, d_in, d_out, bias)
    Q, G, Qt, Gt, V = values
    outputs = [kfgn.kronecker_solve(block, inputs[4], gamma), block.to_dense(), block.trace()]
    outputs.append(block.matmul(inputs[4]))
    solution, dense, trace, product = pytensor.function(inputs, outputs, mode=PLAIN)(*values)
    whole = np.kron(Q, G) + np.kron(padded(Gt, len(Q)), Qt)
    np.testing.assert_allclose(dense, whole, atol=EXACT)
    np.testing.assert_allclose(trace, np.trace(whole), atol=EXACT)
    np.testing.assert_allclose(product.ravel(), whole @ V.ravel(), atol=EXACT)
    wanted = dense_solution(values, gamma)
    np.testing.assert_allclose(solution, wanted, rtol=EXACT, atol=EXACT * np.abs(wanted).max())


@pytest.mark.parametrize(("d_in", "d_out", "bias"), SHAPES)
def test_the_nearest_product_is_the_leading_singular_pair(
    d_in: int, d_out: int, bias: bool, rng: np.random.Generator
) -> None:
    inputs, block = symbols(bias)
    single = block.nearest()
    for scale in (1.0, 1e-6, 0.0):
        values = drawn(rng, d_in, d_out, bias)
        values[3] = scale * values[3]
        Q, G = pytensor.function(
            inputs, [single.Q, single.G], mode=PLAIN, on_unused_input="ignore"
        )(*values)
        first = np.outer(values[0], values[1])
        rearranged = first + np.outer(padded(values[3], len(Q)), values[2])
        U, s, Vt = np.linalg.svd(rearranged)
        np.testing.assert_allclose(
            np.outer(Q, G), s[0] * np.outer(U[:, 0], Vt[0]), atol=EXACT * s[0]
        )
        for factor in (Q, G):
            assert np.linalg.eigvalsh(factor).min() >= -EXACT * np.trace(factor)


def test_an_empty_sum_has_an_empty_product() -> None:
    inputs, block = symbols(False)
    single, zero = block.nearest(), np.zeros((2, 2))
    Q, G = pytensor.function(inputs, [single.Q, single.G], mode=PLAIN, on_unused_input="ignore")(
        *[zero] * 5
    )
    assert not G.any() or not Q.any()
    assert np.isfinite(Q).all() and np.isfinite(G).all()


def autoencoder() -> tuple[Any, list[Any], list[Any]]:
    rng = np.random.default_rng(0)
    x = pt.matrix("x", shape=(None, 4), dtype="float64")
    W = pytensor.shared(0.5 * rng.normal(size=(4, 3)), name="W", shape=(4, 3))
    b = pytensor.shared(0.1 * rng.normal(size=4), name="b", shape=(4,))
    loss = 0.5 * ((pt.tanh(x @ W) @ W.T + b - x) ** 2).sum(axis=1).mean()
    return loss, [W, b], [x]


@pytest.fixture
def layers_for_small_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kfgn_graph.layers.recognition.LARGEST", 0)


def compiled(backend: str, **settings: Any) -> tuple[kfgn.Update, list[Any]]:
    loss, parameters, inputs = autoencoder()
    return kfgn.compile_update(loss, parameters, inputs, backend=backend, **settings), parameters


@pytest.mark.usefixtures("layers_for_small_weights")
@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize("every", [1, 3])
def test_an_update_solves_the_sum(backend: str, every: int, rng: np.random.Generator) -> None:
    update, (W, b) = compiled(
        backend,
        method=kfgn.KFLR(tying="sum"),
        damping=kfgn.ConstantDamping(0.1),
        step=1.0,
        curvature_decay=0.0 if every == 1 else 0.8,
        factors_every=every,
        refresh_every=every,
    )
    batch = rng.normal(size=(6, 4))
    W0, b0 = W.get_value(), b.get_value()
    code = np.tanh(batch @ W0)
    error = (code @ W0.T + b0 - batch) / 6
    inner = (error @ W0) * (1 - code**2)
    # the maps of the decoder, [W^T; b], are the layer, and the encoder's read the transpose
    rows = np.concatenate([code, np.ones((6, 1))], axis=1)
    columns = W0[None] * (1 - code**2)[:, None]
    factors = [
        rows.T @ rows / 6,
        np.eye(4),
        batch.T @ batch / 6,
        np.einsum("noi,noj->ij", columns, columns) / 6,
    ]
    gradient = np.concatenate([code.T @ error + inner.T @ batch, error.sum(axis=0)[None]])
    moved = -dense_solution([*factors, gradient], np.sqrt(0.1))
    update(batch)
    np.testing.assert_allclose(W.get_value() - W0, moved[:3].T, atol=EXACT)
    np.testing.assert_allclose(b.get_value() - b0, moved[3], atol=EXACT)


@pytest.mark.usefixtures("layers_for_small_weights")
def test_a_state_is_saved_and_loaded(rng: np.random.Generator) -> None:
    batch = rng.normal(size=(6, 4))
    settings = {"method": kfgn.KFLR(tying="sum")}
    (first, parameters), (second, others) = (
        compiled("jax", **settings),
        compiled("jax", **settings),
    )
    first(batch)
    assert "factors/W/Q_transposed" in first.state()
    assert "as W by 1 affine map(s), as W^T by 1; its block is the sum" in first.explain()
    second.load_state(first.state())
    for update in (first, second):
        update(batch)
    for p, other in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(p.get_value(), other.get_value())


@pytest.mark.usefixtures("layers_for_small_weights")
def test_other_inverses_need_the_nearest_product(rng: np.random.Generator) -> None:
    for inverse in ("exact", "ekfac", "newton-schulz"):
        with pytest.raises(kfgn.SpecError, match=r"tying='nearest'"):
            compiled("jax", method=kfgn.KFLR(tying="sum"), inverse=inverse)
    update, _ = compiled("jax", method=kfgn.KFLR(), inverse="ekfac")
    batch = rng.normal(size=(6, 4))
    first = update(batch).loss
    assert [update(batch).loss for _ in range(3)][-1] < first
    with pytest.raises(kfgn.SpecError, match="'nearest' or 'sum'"):
        kfgn.KFLR(tying="product")  # type: ignore[arg-type]


@pytest.mark.usefixtures("layers_for_small_weights")
def test_what_a_tied_weight_cannot_have_is_refused() -> None:
    x, W = pt.dmatrix("x"), pytensor.shared(np.eye(3), name="W")
    twice = pt.tanh(x @ W) + x**2 @ W
    graph = kfgn.trace_layers(((twice - x) ** 2).sum(axis=1).mean(), [W])
    with pytest.raises(kfgn.CurvatureRuleNotFound, match="sharing='expand'"):
        kfgn.curvature_factors(graph, kfgn.KFRA(sharing="reduce"))
    with pytest.raises(kfgn.CurvatureRuleNotFound, match="use BlockGaussNewton"):
        kfgn.curvature_factors(graph, kfgn.BlockHessian())
