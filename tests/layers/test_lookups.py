"""Rows of large tables: Q is a diagonal of counts, G is exact, and no square matrix is formed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn
from kfgn_graph.curvature.kronecker import KroneckerFactors, corrected_eigenvalues
from kfgn_graph.curvature.lookups import lookup_corrected_eigenvalues
from kfgn_graph.solve import STRATEGIES, BlockDamping, KeptBlock

EXACT = 1e-10
N, T, D, K = 5, 4, 3, 2
PLAIN = Mode(linker="py", optimizer=None)
tokens, y = pt.imatrix("tokens"), pt.dmatrix("y")

Network = Callable[[Any], tuple[Any, list[Any]]]


def embedding(p: Any) -> tuple[Any, list[Any]]:
    W, U = p("W", 700, D), p("U", T * D, K)
    return pt.tanh(W[tokens]).reshape((tokens.shape[0], T * D)) @ U, [W, U]


def transposed_table(p: Any) -> tuple[Any, list[Any]]:
    W, U = p("W", D, 700), p("U", D, K)
    return pt.tanh(W.T[tokens]).sum(axis=1) @ U, [W, U]


def vector_of_biases(p: Any) -> tuple[Any, list[Any]]:
    W, U = p("W", 2500), p("U", T, K)
    return pt.tanh(W[tokens]) @ U, [W, U]


def three_axes(p: Any) -> tuple[Any, list[Any]]:
    W, U = p("W", 400, 2, D), p("U", D, K)
    return pt.tanh(W[tokens]).sum(axis=(1, 2)) @ U, [W, U]


def positions(p: Any) -> tuple[Any, list[Any]]:
    """The table W is added to every example, whose inputs are a frozen embedding."""
    W, U = p("W", T, 600), p("U", 600, K)
    frozen = np.linspace(-1, 1, 10 * 600).reshape(10, 600)
    return pt.tanh(pt.constant(frozen)[tokens] + W).mean(axis=1) @ U, [W, U]


def first_positions(p: Any) -> tuple[Any, list[Any]]:
    W, U = p("W", 2 * T, 600), p("U", 600, K)
    frozen = np.linspace(-1, 1, 10 * 600).reshape(10, 600)
    h = pt.constant(frozen)[tokens] + W[: tokens.shape[1]]
    return pt.tanh(h).mean(axis=1) @ U, [W, U]


@pytest.mark.parametrize(
    "network",
    [embedding, transposed_table, vector_of_biases, three_axes, positions, first_positions],
    ids=lambda network: network.__name__,
)
def test_factors_are_those_of_one_hot_rows(network: Network, rng: np.random.Generator) -> None:
    """The judge multiplies Jacobians by the one-hot rows of the index."""

    def parameter(name: str, *shape: int) -> Any:
        return pytensor.shared(0.3 * rng.normal(size=shape), name=name)

    z, parameters = network(parameter)
    graph = kfgn.trace_layers(0.5 * ((z - y) ** 2).sum(axis=1).mean(), parameters)
    layer = graph.layers[0]
    assert layer.weight is parameters[0] and layer.index is not None and not graph.diagonal
    v = [rng.normal(size=p.get_value().shape) for p in parameters]
    V = rng.normal(size=layer.shape)
    per_method = [kfgn.curvature_factors(graph, m)[layer] for m in (kfgn.KFLR(), kfgn.KFRA())]
    reduced = kfgn.curvature_factors(graph, kfgn.KFLR(sharing="reduce"))[layer]
    compiled = pytensor.function(
        [tokens, y],
        [
            *(piece for f in per_method for piece in (f.Q, f.G)),
            reduced.Q,
            layer.input,
            per_method[0].solve(pt.constant(V), 0.3),
            *kfgn.gauss_newton_product(graph, [pt.constant(a) for a in v]),
            *(pt.jacobian(z.flatten(), p, vectorize=True) for p in parameters),
            pt.jacobian(graph.output.flatten(), layer.preactivation, vectorize=True),
        ],
        mode=PLAIN,
        on_unused_input="ignore",
    )
    index = rng.integers(-2, 8, size=(N, T)).astype("int32")
    Q, G, Q_kfra, G_kfra, Q_reduced, hot, solved, *rest = compiled(index, np.zeros((N, K)))
    products, jacobians, to_rows = rest[:2], rest[2:4], rest[4]
    flat = hot.reshape(-1, layer.shape[0])
    assert Q.shape == (layer.shape[0],)
    np.testing.assert_array_equal(flat.sum(axis=1), 1)
    np.testing.assert_allclose(Q, np.diag(flat.T @ flat / len(flat)), atol=EXACT)
    np.testing.assert_allclose(Q_kfra, Q, atol=EXACT)
    mean = hot.reshape(N, -1, layer.shape[0]).mean(axis=1)
    np.testing.assert_allclose(Q_reduced, (mean**2).mean(axis=0), atol=EXACT)
    C = to_rows.reshape(N * K, -1, layer.shape[1]) / np.sqrt(N)
    np.testing.assert_allclose(G, np.einsum("kta,ktb->ab", C, C), atol=EXACT)
    assert np.isfinite(G_kfra).all() and G_kfra.shape == G.shape
    d = layer.shape[1]
    pi = np.sqrt(Q.mean() / (np.trace(G) / d))
    wanted = (V / (Q + pi * 0.3)[:, None]) @ np.linalg.inv(G + 0.3 / pi * np.eye(d))
    np.testing.assert_allclose(solved, wanted, rtol=1e-8)
    J = [a.reshape(N * K, -1) for a in jacobians]
    image = sum(a @ b.ravel() for a, b in zip(J, v, strict=True)) / N
    for a, product in zip(J, products, strict=True):
        np.testing.assert_allclose(product.ravel(), a.T @ image, atol=EXACT)


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_invert_a_vector_as_its_matrix(name: str, rng: np.random.Generator) -> None:
    strategy, q, g = STRATEGIES[name], 6, 4
    X = rng.normal(size=(g, 2 * g))
    d, G = pt.constant(rng.uniform(0, 2, size=q)), pt.constant(X @ X.T)
    V, gamma, corrected = rng.normal(size=(q, g)), pt.constant(0.4), rng.uniform(size=(q, g))
    due, found = pt.scalar("due", dtype="bool"), []
    for Q, initial in (
        (d, strategy.initial_with_vector(q, g, "float64")),
        (pt.diag(d), strategy.initial(q, g, "float64")),
    ):
        if "corrected" in initial:
            initial["corrected"] = corrected
        old = {part: pytensor.shared(value) for part, value in initial.items()}
        block = KeptBlock(KroneckerFactors(Q, G), gamma, old)
        (parts,), finite = strategy.refreshed([block], due)
        applied = strategy.apply(parts, pt.constant(V), BlockDamping(gamma, gamma**2))
        found += [applied, finite]
    compiled = pytensor.function([due], found, mode=PLAIN)
    for flag in (True, False):
        ours, finite, theirs, theirs_finite = compiled(flag)
        assert finite and theirs_finite
        np.testing.assert_allclose(ours, theirs, rtol=1e-7)


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_second_moments_are_those_of_one_hot_rows(sharing: str, rng: np.random.Generator) -> None:
    W, U = (pytensor.shared(rng.normal(size=s)) for s in ((700, D), (D, K)))
    z = pt.specify_shape(pt.tanh(W[tokens]).mean(axis=1) @ U, (None, K))
    graph = kfgn.trace_layers(((z - y) ** 2).sum(axis=1).mean(), [W, U])
    layer, method = graph.layers[0], kfgn.KFLR(sharing=sharing)
    C = method.flat_columns(method.columns(graph, kfgn.heads.find_head(graph), None)[layer])
    basis = pt.constant(np.linalg.qr(rng.normal(size=(D, D)))[0])
    found = [
        lookup_corrected_eigenvalues(graph, layer, sharing, C, basis),
        corrected_eigenvalues(method.flat_input(graph, layer), C, pt.eye(700), basis),
    ]
    compiled = pytensor.function([tokens, y], found, mode=PLAIN, on_unused_input="ignore")
    ours, theirs = compiled(rng.integers(0, 8, size=(N, T)).astype("int32"), np.zeros((N, K)))
    np.testing.assert_allclose(ours, theirs, atol=EXACT)


def test_a_large_embedding_trains_and_resumes(tmp_path: Path, rng: np.random.Generator) -> None:
    words, width, classes = 20_000, 64, 3

    shapes = {"E": (words, width), "U": (width, classes)}
    p = {n: pytensor.shared((rng.normal(size=s) / 8).astype("f"), n) for n, s in shapes.items()}
    label = pt.ivector("label")
    log_p = pt.special.log_softmax(pt.tanh(p["E"][tokens]).mean(axis=1) @ p["U"], axis=-1)
    loss = -log_p[pt.arange(label.shape[0]), label].mean()
    update = kfgn.compile_update(loss, list(p.values()), [tokens, label], backend="jax")
    X = rng.integers(0, words, size=(64, T)).astype("int32")
    batch = X, (X.sum(axis=1) % classes).astype("int32")
    losses = [float(update(*batch).loss) for _ in range(12)]
    assert losses[-1] < 0.1 * losses[0]
    assert update.state()["factors/E/Q"].shape == (words,)
    assert max(np.size(a) for a in update.state().values()) == words * width
    assert f"diag {words}" in update.explain()
    assert continues_from_a_file(update, batch, tmp_path / "state")


def continues_from_a_file(update: kfgn.Update, batch: Any, path: Path) -> bool:
    """Return whether updates from a saved state repeat those from the state itself."""
    update.save(path)
    values = [np.array(p.get_value()) for p in update.graph.parameters]
    first = [float(update(*batch).loss) for _ in range(3)]
    update.load(path)
    for p, value in zip(update.graph.parameters, values, strict=True):
        p.set_value(value)
    return first == [float(update(*batch).loss) for _ in range(3)]
