"""Parameters that are no weight of one affine map: their blocks are exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from pytensor.tensor.signal.conv import convolve1d, convolve2d

import kfgn_graph as kfgn
from kfgn_graph.layers.copies import LARGEST

EXACT = 1e-9
N = 5
PLAIN = Mode(linker="py", optimizer=None)
x, images, y = pt.dmatrix("x"), pt.dtensor3("images"), pt.dmatrix("y")

Built = tuple[Any, list[Any]]
Net = Callable[[Callable[..., Any]], Built]
NETS: dict[str, Net] = {}


def net(build: Net) -> Net:
    NETS[build.__name__] = build
    return build


@net
def layer_norm(p: Any) -> Built:
    W, s, t, V = p("W", 3, 4), p("s", 4), p("t", 4), p("V", 4, 2)
    h = pt.tanh(x @ W)
    h = (h - h.mean(axis=1, keepdims=True)) / pt.sqrt(h.var(axis=1, keepdims=True) + 0.1)
    return (h * s + t) @ V, [W, s, t, V]


@net
def slope_of_prelu(p: Any) -> Built:
    W, a, V = p("W", 3, 4), p("a", 4), p("V", 4, 2)
    h = x @ W
    return pt.switch(h > 0, h, a * h) @ V, [W, a, V]


@net
def temperature(p: Any) -> Built:
    W, t = p("W", 3, 2), p("t")
    return x @ W / pt.exp(t), [W, t]


@net
def scale_of_tokens(p: Any) -> Built:
    W, s, V = p("W", 3, 4), p("s", 4), p("V", 4, 2)
    return (pt.tanh(images @ W) * s @ V).flatten(2), [W, s, V]


@net
def positions(p: Any) -> Built:
    W, q, V = p("W", 3, 4), p("q", 4, 4), p("V", 4, 2)
    return pt.tanh(images @ W + q).mean(axis=1) @ V, [W, q, V]


@net
def weight_norm(p: Any) -> Built:
    v, g, V = p("v", 3, 4), p("g", 4), p("V", 4, 2)
    return pt.tanh(x @ (g * v / pt.sqrt((v**2).sum(axis=0)))) @ V, [v, g, V]


@net
def low_rank(p: Any) -> Built:
    A, B, V = p("A", 3, 2), p("B", 2, 4), p("V", 4, 2)
    return pt.tanh(x @ (np.ones((3, 4)) + A @ B)) @ V, [A, B, V]


@net
def masked_weight(p: Any) -> Built:
    W, V = p("W", 3, 4), p("V", 4, 2)
    return pt.tanh(x @ (W * np.tri(3, 4))) @ V, [W, V]


@net
def tied(p: Any) -> Built:
    W, b, c = p("W", 3, 2), p("b", 2), p("c", 3)
    return pt.tanh(x @ W + b) @ W.T + c, [W, b, c]


@net
def siamese(p: Any) -> Built:
    W, V = p("W", 3, 4), p("V", 4, 2)
    return (pt.tanh(x @ W) - pt.tanh(x**2 @ W)) @ V, [W, V]


@net
def residual_sum(p: Any) -> Built:
    W, b, V = p("W", 3, 3), p("b", 3), p("V", 3, 2)
    h = pt.tanh(x)
    return (h + pt.tanh(h) @ W + b) @ V, [W, b, V]


@net
def unrolled_recurrence(p: Any) -> Built:
    W, U, b, V = p("W", 3, 4), p("U", 4, 4), p("b", 4), p("V", 4, 2)
    h = pt.zeros((images.shape[0], 4))
    for t in range(4):
        h = pt.tanh(images[:, t] @ W + h @ U + b)
    return h @ V, [W, U, b, V]


@net
def embedding(p: Any) -> Built:
    E, V = p("E", 4, 3), p("V", 3, 2)
    tokens = (images[:, :, 0] > 0).astype("int64") + 2 * (images[:, :, 1] > 0).astype("int64")
    return pt.tanh(E[tokens].mean(axis=1)) @ V, [E, V]


@net
def convolution(p: Any) -> Built:
    K, V = p("K", 2, 2, 2), p("V", 2, 2)
    maps = [convolve2d(images, K[k], mode="valid") for k in range(2)]
    return pt.tanh(pt.stack(maps, axis=1)).mean(axis=(2, 3)) @ V, [K, V]


@net
def derivative_of_the_network(p: Any) -> Built:
    W, b, V = p("W", 3, 4), p("b", 4), p("V", 4, 1)
    u = pt.tanh(x @ W + b) @ V
    return pt.concatenate([pytensor.grad(u.sum(), x), u], axis=1), [W, b, V]


@net
def token_before_the_sequence(p: Any) -> Built:
    t, W, V = p("t", 3), p("W", 3, 4), p("V", 4, 2)
    first = pt.broadcast_to(pt.exp(t), (images.shape[0], 1, 3))
    h = pt.concatenate([first, images], axis=1)
    return (pt.tanh(h @ W) ** 2).mean(axis=1) @ V, [t, W, V]


@net
def no_affine_map(p: Any) -> Built:
    s = p("s", 3)
    return pt.tanh(x * s), [s]


@pytest.mark.parametrize("name", NETS)
def test_the_block_of_a_copied_parameter_is_exact(name: str, rng: np.random.Generator) -> None:
    def parameter(name: str, *shape: int) -> Any:
        return pytensor.shared(0.7 * rng.normal(size=shape), name=name)

    z, parameters = NETS[name](parameter)
    data = [rng.normal(size=(N, 3)), rng.normal(size=(N, 4, 3))]
    function = pytensor.function([x, images], z, mode=PLAIN, on_unused_input="ignore")
    targets = rng.normal(size=function(*data).shape)
    loss = 0.5 * ((z - y) ** 2).sum(axis=1).mean() + 0.01 * (parameters[0] ** 2).sum()
    graph = kfgn.trace_layers(loss, parameters)
    copied = [layer for layer in graph.layers if layer.copies]
    assert copied and not graph.unmatched
    factors = kfgn.curvature_factors(graph, kfgn.KFLR())
    v = [rng.normal(size=p.get_value().shape) for p in parameters]
    wanted = [loss, *pytensor.grad(loss, parameters)]
    found = [graph.loss, *pytensor.grad(graph.loss, parameters)]
    jacobians = [pt.jacobian(z.flatten(), p, vectorize=True) for p in parameters]
    outputs = [
        *wanted,
        *found,
        *jacobians,
        *kfgn.gauss_newton_product(graph, [pt.constant(a) for a in v]),
        *(factors[layer].G for layer in copied),
        *(factors[layer].Q for layer in copied),
    ]
    compiled = pytensor.function([x, images, y], outputs, mode=PLAIN, on_unused_input="ignore")
    values = iter(compiled(*data, targets))

    def take(count: int) -> list[np.ndarray]:
        return [np.asarray(next(values)) for _ in range(count)]

    for true, ours in zip(take(len(wanted)), take(len(found)), strict=True):
        np.testing.assert_allclose(ours, true, atol=EXACT)
    J = {p: a.reshape(targets.size, -1) for p, a in zip(parameters, take(len(v)), strict=True)}
    image = sum(J[p] @ a.ravel() for p, a in zip(parameters, v, strict=True)) / N
    for p, product in zip(parameters, take(len(v)), strict=True):
        np.testing.assert_allclose(product.ravel(), J[p].T @ image, atol=EXACT)
    for layer, G in zip(copied, take(len(copied)), strict=True):
        np.testing.assert_allclose(G, J[layer.weight].T @ J[layer.weight] / N, atol=EXACT)
    for Q in take(len(copied)):
        np.testing.assert_allclose(Q, [[1]])


def test_kfra_is_exact_where_the_copies_are_of_one_example(rng: np.random.Generator) -> None:
    s, W = pytensor.shared(rng.normal(size=3), name="s"), pytensor.shared(np.eye(3), name="W")
    z = pt.tanh(x * s) @ W
    graph = kfgn.trace_layers(0.5 * ((z - x) ** 2).sum(axis=1).mean(), [s, W])
    layer = next(each for each in graph.layers if each.copies)
    both = [kfgn.curvature_factors(graph, m)[layer].G for m in (kfgn.KFRA(), kfgn.KFLR())]
    kfra, kflr = pytensor.function([x], both, mode=PLAIN)(rng.normal(size=(1, 3)))
    np.testing.assert_allclose(kfra, kflr, atol=EXACT)


def _refused(loss: Any, parameters: list[Any]) -> str:
    with pytest.raises(kfgn.UnmatchedParameterError) as caught:
        kfgn.trace_layers(loss, parameters)
    return str(caught.value)


def test_what_cannot_be_copied_is_refused_with_the_reason() -> None:
    V, s = pytensor.shared(np.eye(3), name="V"), pytensor.shared(1.0, name="s")
    weighted = pt.exp(-s) * ((x @ V - x) ** 2).sum(axis=1).mean() + s
    assert "no example axis" in _refused(weighted, [V, s])


def test_what_is_too_large_for_a_block_has_its_diagonal() -> None:
    W = pytensor.shared(np.zeros((3, LARGEST)), name="W")
    graph = kfgn.trace_layers(((x @ (W * np.tri(3, LARGEST))) ** 2).sum(axis=1).mean(), [W])
    (each,) = graph.diagonal
    assert each.weight is W and f"at most {LARGEST:,}" in each.reason and not graph.layers


def test_a_repeated_parameter_is_copied(rng: np.random.Generator) -> None:
    """A class token, of which every example reads one copy, has its exact block."""
    token, V = (pytensor.shared(rng.normal(size=s), name=n) for n, s in (("t", 3), ("V", (3, 2))))
    first = pt.alloc(token, images.shape[0], 1, 3)
    z = pt.tanh(pt.tanh(pt.concatenate([first, images], axis=1)).sum(axis=1)) @ V
    graph = kfgn.trace_layers(0.5 * ((z - y) ** 2).sum(axis=1).mean(), [token, V])
    (layer,) = (each for each in graph.layers if each.copies)
    found = [
        kfgn.curvature_factors(graph, kfgn.KFLR())[layer].G,
        pt.jacobian(z.flatten(), token, vectorize=True),
    ]
    compiled = pytensor.function([images, y], found, mode=PLAIN, on_unused_input="ignore")
    G, J = compiled(rng.normal(size=(N, 4, 3)), np.zeros((N, 2)))
    np.testing.assert_allclose(G, J.T @ J / N, atol=EXACT)


def test_other_treatments_are_of_what_is_in_no_affine_map() -> None:
    W, s = pytensor.shared(np.eye(3), name="W"), pytensor.shared(np.ones(3), name="s")
    loss = ((x @ W * s - x) ** 2).sum(axis=1).mean()
    for treatment in ("gradient", "freeze"):
        assert s in kfgn.trace_layers(loss, [W, s], unmatched=treatment).unmatched


def test_data_may_be_a_constant_beside_targets_that_are_an_input(rng: np.random.Generator) -> None:
    W, s = pytensor.shared(np.ones((3, 2)), name="W"), pytensor.shared(np.ones(2), name="s")
    h = pt.constant(rng.normal(size=(N, 3))) @ W
    for z, parameters in ((h, [W]), (h * s, [W, s])):
        graph = kfgn.trace_layers(((z - y) ** 2).sum(axis=1).mean(), parameters)
        assert [layer.weight for layer in graph.layers] == parameters


def test_a_constant_of_as_many_rows_as_examples_is_read_as_data() -> None:
    points = pt.tensor("points", shape=(N, 1), dtype="float64")
    W, V = (pytensor.shared(np.ones(s), name=n) for n, s in (("W", (1, 4)), ("V", (4, 1))))
    u = pt.tanh(points @ W) @ V
    residual = pytensor.grad(u.sum(), points) + u  # reads V.T with a constant column of ones
    graph = kfgn.trace_layers((residual**2).mean(), [W, V])
    assert [layer.weight for layer in graph.layers] == [W, V]
    assert all(layer.copies for layer in graph.layers)


def test_a_parameter_that_mixes_examples_is_refused() -> None:
    k, W = pytensor.shared(np.ones(3), name="k"), pytensor.shared(np.eye(3), name="W")
    over_examples = convolve1d(x.T, k, mode="same").T
    normalised = pt.linalg.solve(pt.diag(k) + x.T @ x, x.T).T
    for h in (over_examples, normalised):
        with pytest.raises((kfgn.NotABatchLossError, kfgn.UnmatchedParameterError)):
            kfgn.trace_layers(((h @ W - x) ** 2).sum(axis=1).mean(), [k, W])
