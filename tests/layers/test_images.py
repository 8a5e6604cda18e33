"""Convolutions by hand and paddings: flipped kernels are views, and edges are repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn

EXACT = 1e-9
PLAIN = Mode(linker="py", optimizer=None)
N = 4
images, y = pt.tensor("images", shape=(None, 1, 4, 4), dtype="float64"), pt.dmatrix("y")


def flipped_filters(p: Any) -> tuple[Any, list[Any]]:
    filters, b, V = p("filters", 3, 1, 2, 2), p("b", 3), p("V", 27, 2)
    kernel = filters[:, :, ::-1, ::-1].flatten(2)
    places = [(i, j) for i in range(3) for j in range(3)]
    columns = pt.stack([images[:, :, i : i + 2, j : j + 2].flatten(2) for i, j in places], axis=1)
    maps = pt.dot(columns, kernel.T).transpose(0, 2, 1).reshape((-1, 3, 3, 3))
    return pt.tanh(maps + b.dimshuffle("x", 0, "x", "x")).flatten(2) @ V, [filters, b, V]


def padded(mode: str) -> Any:
    def net(p: Any) -> tuple[Any, list[Any]]:
        W, V = p("W", 4, 4), p("V", 48, 2)
        h = pt.tanh(images[:, 0] @ W)
        widths = [(0, 0), (2, 0), (1, 3)]
        return pt.pad(h, widths, mode=mode).flatten(2) @ V, [W, V]

    net.__name__ = mode
    return net


NETS = [flipped_filters, *(padded(mode) for mode in ("edge", "reflect", "symmetric", "wrap"))]


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_products_and_factors_are_exact(net: Any, rng: np.random.Generator) -> None:
    z, parameters = net(
        lambda name, *shape: pytensor.shared(0.5 * rng.normal(size=shape), name=name)
    )
    loss = 0.5 * ((z - y) ** 2).sum(axis=1).mean()
    graph = kfgn.trace_layers(loss, parameters)
    v = [rng.normal(size=p.get_value().shape) for p in parameters]
    factors = kfgn.curvature_factors(graph, kfgn.KFLR())
    last = graph.layers[-1]
    groups = [
        [loss, *pytensor.grad(loss, parameters)],
        [graph.loss, *pytensor.grad(graph.loss, parameters)],
        [pt.jacobian(z.flatten(), p, vectorize=True) for p in parameters],
        kfgn.gauss_newton_product(graph, [pt.constant(a) for a in v]),
        [factors[layer].G for layer in graph.layers if layer.copies],
    ]
    outputs = [each for group in groups for each in group]
    function = pytensor.function([images, y], outputs, mode=PLAIN)
    found = iter(function(rng.normal(size=(N, 1, 4, 4)), rng.normal(size=(N, 2))))
    true, ours, jacobians, products, copies = ([next(found) for _ in g] for g in groups)
    for wanted, got in zip(true, ours, strict=True):
        np.testing.assert_allclose(got, wanted, atol=EXACT)
    J = dict(zip(parameters, (a.reshape(2 * N, -1) for a in jacobians), strict=True))
    image = sum(J[p] @ a.ravel() for p, a in zip(parameters, v, strict=True)) / N
    for p, got in zip(parameters, products, strict=True):
        np.testing.assert_allclose(got.ravel(), J[p].T @ image, atol=EXACT)
    for layer, G in zip([k for k in graph.layers if k.copies], copies, strict=True):
        np.testing.assert_allclose(G, J[layer.weight].T @ J[layer.weight] / N, atol=EXACT)
    assert last.weight is parameters[-1] and not graph.layers[0].copies


def test_a_flipped_kernel_moves_as_it_is_stored(rng: np.random.Generator) -> None:
    z, parameters = flipped_filters(
        lambda name, *shape: pytensor.shared(0.5 * rng.normal(size=shape), name=name)
    )
    layer = kfgn.trace_layers(((z - y) ** 2).mean(), parameters).layers[0]
    value = pt.constant(rng.normal(size=(3, 1, 2, 2)))
    matrix = layer.as_matrix(value)
    both = pytensor.function([], [matrix, layer.as_weight(matrix)], mode=PLAIN)()
    assert layer.shape == (4, 3)
    np.testing.assert_array_equal(both[0], value.data[:, :, ::-1, ::-1].reshape(3, 4).T)
    np.testing.assert_array_equal(both[1], value.data)
