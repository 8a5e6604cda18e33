"""Weights that several affine maps read, as W and as W^T, against brute force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn

EXACT = 1e-9
N = 5
PLAIN = Mode(linker="py", optimizer=None)
x, sequences, y = pt.dmatrix("x"), pt.dtensor3("sequences"), pt.dmatrix("y")

Array = np.ndarray
Parameter = Callable[..., Any]
Map = Callable[..., Any]
Net = Callable[[Parameter, Map], Any]
NETS: dict[str, Net] = {}


def net(build: Net) -> Net:
    NETS[build.__name__] = build
    return build


@net
def siamese(p: Parameter, at: Map) -> Any:
    W, b, V = p("W", 3, 4), p("b", 4), p("V", 4, 2)
    first, second = (pt.tanh(at(a, W) + b) for a in (x, x**2))
    return at(first - second, V)


@net
def biases_apart(p: Parameter, at: Map) -> Any:
    W, b, c = p("W", 3, 4), p("b", 4), p("c", 4)
    return pt.tanh(at(x, W) + b) * (at(x**2, W) + c)


@net
def unrolled_recurrence(p: Parameter, at: Map) -> Any:
    W, U, V = p("W", 3, 4), p("U", 4, 4), p("V", 4, 2)
    h = pt.zeros((sequences.shape[0], 4))
    for t in range(3):
        h = pt.tanh(at(sequences[:, t], W) + at(h, U))
    return at(h, V)


@net
def residual_steps(p: Parameter, at: Map) -> Any:
    W, b, h = p("W", 3, 3), p("b", 3), x
    for _ in range(3):
        h = h + pt.tanh(at(h, W) + b)
    return h


@net
def sequences_and_rows(p: Parameter, at: Map) -> Any:
    W = p("W", 3, 4)
    return pt.tanh(at(sequences, W)).mean(axis=1) + at(x, W)


@net
def tied_autoencoder(p: Parameter, at: Map) -> Any:
    W, b, c = p("W", 3, 2), p("b", 2), p("c", 3)
    return at(pt.tanh(at(x, W) + b), W.T) + c


@net
def tied_twice(p: Parameter, at: Map) -> Any:
    W, V = p("W", 3, 4), p("V", 2, 4)
    code = pt.tanh(at(pt.tanh(at(x, W)), V.T))
    return pt.tanh(at(pt.tanh(at(code, V)), W.T)) + at(at(x**2, W), W.T)


@net
def derivative_of_the_network(p: Parameter, at: Map) -> Any:
    W, b, U, V = p("W", 3, 4), p("b", 4), p("U", 4, 4), p("V", 4, 1)
    first = pt.tanh(at(x, W) + b)
    second = pt.tanh(at(first, U))
    slope = at((1 - second**2) * at(pt.ones_like(x[:, :1]), V.T), U.T)  # as by pytensor.grad
    return pt.concatenate([at((1 - first**2) * slope, W.T), at(second, V)], axis=1)


def parameters_of(build: Net) -> tuple[Parameter, list[Any]]:
    rng, found = np.random.default_rng(1), []

    def parameter(name: str, *shape: int) -> Any:
        found.append(pytensor.shared(0.7 * rng.normal(size=shape), name=name))
        return found[-1]

    return parameter, found


def perturbed(build: Net, parameters: Parameter) -> tuple[Any, dict[tuple[Any, bool], list[Any]]]:
    """Return the network with a zero added to each product, and the products' inputs and zeros."""
    maps: dict[tuple[Any, bool], list[Any]] = {}

    def at(a: Any, W: Any) -> Any:
        h = a @ W
        zero = h.type(f"zero{sum(len(found) for found in maps.values())}")
        weight = W if W.owner is None else W.owner.inputs[0]
        maps.setdefault((weight, W.owner is not None), []).append((a, zero))
        return h + zero

    return build(parameters, at), maps


@pytest.fixture
def layers_for_small_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every weight that several affine maps read as one too large for a dense block."""
    monkeypatch.setattr("kfgn_graph.layers.recognition.LARGEST", 0)


@pytest.mark.usefixtures("layers_for_small_weights")
@pytest.mark.parametrize("name", NETS)
def test_factors_products_and_blocks(name: str, rng: np.random.Generator) -> None:
    parameter, trained = parameters_of(NETS[name])
    products: list[Any] = []

    def at(a: Any, W: Any) -> Any:
        products.append(a @ W)
        return products[-1]

    z = NETS[name](parameter, at)
    data = [rng.normal(size=(N, 3)), rng.normal(size=(N, 3, 3)), rng.normal(size=(N, z_width(z)))]
    loss = 0.5 * ((z - y) ** 2).sum(axis=1).mean()
    graph = kfgn.trace_layers(loss, trained)
    reused = [k for k in graph.layers if len(k.uses) > 1 or k.reverse is not None]
    assert reused and not any(k.copies for k in reused)

    by_name = {p.name: p for p in trained}
    again, maps = perturbed(NETS[name], lambda name, *shape: by_name[name])
    zeros = [zero for found in maps.values() for _, zero in found]
    inputs = [a for found in maps.values() for a, _ in found]
    v = [rng.normal(size=p.get_value().shape) for p in trained]
    factors = kfgn.curvature_factors(graph, kfgn.KFLR(tying="sum"))
    blocks = kfgn.curvature_factors(graph, kfgn.BlockGaussNewton())
    found = [
        *kfgn.gauss_newton_product(graph, [pt.constant(a) for a in v]),
        *(m for k in reused for m in factors[k].factors().values()),
        *(blocks[k].to_dense() for k in reused),
    ]
    values = iter(evaluated([x, sequences, y], found, data))
    points = [np.zeros_like(h) for h in evaluated([x, sequences], products, data[:2])]
    order = sorted(range(len(zeros)), key=lambda k: int(zeros[k].name.removeprefix("zero")))
    at_zero = [zeros[k] for k in order]
    wanted = [pt.jacobian(again.flatten(), u, vectorize=True) for u in (*trained, *zeros)]
    truth = evaluated([x, sequences, *at_zero], [*wanted, *inputs], [*data[:2], *points])
    rows = iter(truth)
    J = {p: next(rows).reshape(N * z_width(z), -1) for p in trained}
    slopes = {u: next(rows) for u in zeros}
    read = dict(zip(zeros, rows, strict=True))

    image = sum(J[p] @ a.ravel() for p, a in zip(trained, v, strict=True)) / N
    for p in trained:
        np.testing.assert_allclose(next(values).ravel(), J[p].T @ image, atol=EXACT)
    for k in reused:
        for side in k.sides:
            stored = side.matrix.owner is not None
            places = [zero for _, zero in maps[k.weight, stored]]
            Q, G = brute_force(places, read, slopes, k.bias is not None and side is k)
            np.testing.assert_allclose(next(values), Q, atol=EXACT)
            np.testing.assert_allclose(next(values), G, atol=EXACT)
    for k in reused:
        own = J[k.weight].reshape(-1, *k.weight.get_value().shape)
        own = (own.transpose(0, 2, 1) if k.transposed else own).reshape(len(own), -1)
        own = own if k.bias is None else np.concatenate([own, J[k.bias]], axis=1)
        np.testing.assert_allclose(next(values), own.T @ own / N, atol=EXACT)


@pytest.mark.usefixtures("layers_for_small_weights")
@pytest.mark.parametrize("name", ["siamese", "residual_steps", "tied_twice"])
def test_kfra_and_chunks_of_columns_are_exact_for_one_example(
    name: str, rng: np.random.Generator
) -> None:
    parameter, trained = parameters_of(NETS[name])
    z = NETS[name](parameter, lambda a, W: a @ W)
    graph = kfgn.trace_layers(0.5 * ((z - y) ** 2).sum(axis=1).mean(), trained)
    tying: Any = "sum"
    methods = [
        kfgn.KFLR(tying=tying),
        kfgn.KFRA(tying=tying),
        kfgn.KFLR(chunk_size=2, tying=tying),
    ]
    factors = [kfgn.curvature_factors(graph, method) for method in methods]
    outputs = [m for f in factors for k in graph.layers for m in f[k].factors().values()]
    data = [rng.normal(size=(1, 3)), rng.normal(size=(1, 3, 3)), rng.normal(size=(1, z_width(z)))]
    values = evaluated([x, sequences, y], outputs, data)
    count = len(values) // 3
    kflr, kfra, chunks = values[:count], values[count : 2 * count], values[2 * count :]
    for exact, nested, chunked in zip(kflr, kfra, chunks, strict=True):
        np.testing.assert_allclose(nested, exact, atol=EXACT)
        np.testing.assert_allclose(chunked, exact, atol=EXACT)


@pytest.mark.usefixtures("layers_for_small_weights")
def test_reduce_is_exact_for_one_example_of_a_linear_network(rng: np.random.Generator) -> None:
    W = pytensor.shared(rng.normal(size=(3, 2)), name="W")
    z = x @ W + x**2 @ W
    graph = kfgn.trace_layers(0.5 * ((z - y) ** 2).sum(axis=1).mean(), [W])
    (layer,) = graph.layers
    reduced = kfgn.curvature_factors(graph, kfgn.KFLR(sharing="reduce"))[layer].to_dense()
    exact = kfgn.curvature_factors(graph, kfgn.BlockGaussNewton())[layer].to_dense()
    data = [rng.normal(size=(1, 3)), rng.normal(size=(1, 2))]
    found, wanted = evaluated([x, y], [reduced, exact], data)
    np.testing.assert_allclose(found, wanted, atol=EXACT)
    a = data[0] + data[0] ** 2
    np.testing.assert_allclose(wanted, np.kron(a.T @ a, np.eye(2)), atol=EXACT)


def z_width(z: Any) -> int:
    arrays = [np.zeros((1, 3)), np.zeros((1, 3, 3))]
    return int(evaluated([x, sequences], [z], arrays)[0].shape[1])


def evaluated(inputs: list[Any], outputs: list[Any], arrays: list[Array]) -> list[Array]:
    with pytensor.config.change_flags(cxx=""):
        function = pytensor.function(inputs, outputs, mode=PLAIN, on_unused_input="ignore")
        return [np.asarray(value) for value in function(*arrays)]


def brute_force(
    places: list[Any], read: dict[Any, Array], slopes: dict[Any, Array], bias: bool
) -> tuple[Array, Array]:
    """Return Q and G, every row of every map counted as an example."""
    rows = np.concatenate([read[u].reshape(-1, read[u].shape[-1]) for u in places])
    rows = np.concatenate([rows, np.ones((len(rows), int(bias)))], axis=1)
    G = 0.0
    for u in places:
        C = slopes[u].reshape(len(slopes[u]), -1, slopes[u].shape[-1])
        G = G + np.einsum("mri,mrj->ij", C, C) / N
    return rows.T @ rows / len(rows), np.asarray(G)
