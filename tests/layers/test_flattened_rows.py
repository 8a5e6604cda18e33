"""Tokens and places flattened to rows: read as the axes that the rows are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from pytensor.tensor.special import softmax

import kfgn_graph as kfgn

EXACT = 1e-9
PLAIN = Mode(linker="py", optimizer=None)
N, T = 5, 4
x, y = pt.dtensor3("x"), pt.dmatrix("y")
rows = pt.dmatrix("rows")
Net = Callable[[Callable[..., Any]], tuple[Any, list[Any]]]


def flat(v: Any) -> Any:
    return v.reshape((v.shape[0] * v.shape[1], v.shape[2]))


def restored(v: Any) -> Any:
    return v.reshape((x.shape[0], x.shape[1], v.shape[1]))


def a_layer_between(p: Any) -> tuple[Any, list[Any]]:
    W, b, V = p("W", 3, 4), p("b", 4), p("V", 4, 2)
    return restored(pt.tanh(flat(x) @ W + b)).mean(axis=1) @ V, [W, b, V]


def several_ops_between(p: Any) -> tuple[Any, list[Any]]:
    W, U, s, V = p("W", 3, 4), p("U", 3, 4), p("s", 4), p("V", 4, 2)
    h = softmax(flat(x) @ W, axis=1) + flat(pt.exp(x)) @ U
    h = (h - h.mean(axis=1, keepdims=True)) * s
    return restored(h[:, ::-1]).max(axis=1) @ V, [W, U, s, V]


def flattened_once_more(p: Any) -> tuple[Any, list[Any]]:
    W, b, V = p("W", 3, 4), p("b", 4), p("V", 2, 2)
    h = pt.tanh(flat(x) @ W + b).reshape((-1, 2, 2)).sum(axis=1)  # each row in two halves
    return restored(h).sum(axis=1) @ V, [W, b, V]


def to_one_row_for_each_example(p: Any) -> tuple[Any, list[Any]]:
    W, V = p("W", 3, 2), p("V", 2 * T, 2)
    h = pt.tanh(flat(x) @ W).reshape((x.shape[0], 2 * T))
    return h @ V, [W, V]


NETS = (a_layer_between, several_ops_between, flattened_once_more, to_one_row_for_each_example)


def _parameters(rng: np.random.Generator) -> Callable[..., Any]:
    return lambda name, *shape: pytensor.shared(rng.normal(size=shape), name=name)


@pytest.mark.parametrize("net", NETS)
def test_the_blocks_are_those_of_the_examples(net: Net, rng: np.random.Generator) -> None:
    z, parameters = net(_parameters(rng))
    loss = 0.5 * ((z - y) ** 2).sum(axis=1).mean()
    graph = kfgn.trace_layers(loss, parameters)
    assert graph.output.type.ndim == 2
    v = [rng.normal(size=p.get_value().shape) for p in parameters]
    if any(layer.copies for layer in graph.layers):
        factors = kfgn.curvature_factors(graph, kfgn.KFLR())
        dense = {layer: factors[layer].G for layer in graph.layers if layer.copies}
    else:
        blocks = kfgn.curvature_factors(graph, kfgn.BlockGaussNewton())
        dense = {layer: block.to_dense() for layer, block in blocks.items()}
    groups = [
        pytensor.grad(loss, parameters),
        pytensor.grad(graph.loss, parameters),
        [pt.jacobian(z.flatten(), p, vectorize=True) for p in parameters],
        kfgn.gauss_newton_product(graph, [pt.constant(a) for a in v]),
        list(dense.values()),
    ]
    outputs = [each for group in groups for each in group]
    found = iter(
        pytensor.function([x, y], outputs, mode=PLAIN)(
            rng.normal(size=(N, T, 3)), rng.normal(size=(N, 2))
        )
    )
    true, ours, jacobians, products, exact = ([next(found) for _ in g] for g in groups)
    for wanted, got in zip(true, ours, strict=True):
        np.testing.assert_allclose(got, wanted, atol=EXACT)
    J = dict(zip(parameters, (a.reshape(2 * N, -1) for a in jacobians), strict=True))
    image = sum(J[p] @ a.ravel() for p, a in zip(parameters, v, strict=True)) / N
    for p, got in zip(parameters, products, strict=True):
        np.testing.assert_allclose(got.ravel(), J[p].T @ image, atol=EXACT)
    for layer, block in zip(dense, exact, strict=True):
        of_layer = [p for p in (layer.weight, layer.bias) if p is not None]
        columns = np.concatenate([J[p] for p in of_layer], axis=1)
        np.testing.assert_allclose(block, columns.T @ columns / N, atol=EXACT)


def test_rows_that_are_restored_in_another_order_are_refused(rng: np.random.Generator) -> None:
    p = _parameters(rng)
    W, V = p("W", 3, 4), p("V", 4, 2)
    h = pt.tanh(flat(x) @ W).reshape((x.shape[1], x.shape[0], 4))  # examples of T rows are cut
    loss = ((h.mean(axis=0) @ V - y) ** 2).mean()
    with pytest.raises(kfgn.NotABatchLossError):
        kfgn.trace_layers(loss, [W, V])


def test_rows_that_are_examples_to_the_loss_stay_rows(rng: np.random.Generator) -> None:
    p = _parameters(rng)
    W, V = p("W", 3, 4), p("V", 4, 2)
    loss = ((pt.tanh(flat(x) @ W) @ V - rows) ** 2).sum(axis=1).mean()
    graph = kfgn.trace_layers(loss, [W, V])
    assert [layer.preactivation.type.ndim for layer in graph.layers] == [2, 2]


@pytest.mark.parametrize("shape", [(None, None, 3), (6, 3, 3)])
def test_the_layers_do_not_depend_on_which_lengths_are_known(
    shape: tuple[int | None, ...], rng: np.random.Generator
) -> None:
    shapes = {"W": (3, 4), "b": (4,), "V": (4, 2), "c": (2,)}
    W, b, V, c = (pytensor.shared(rng.normal(size=s), name=n) for n, s in shapes.items())
    x = pt.tensor("x", shape=shape)
    h = pt.tanh(pt.einsum("ntd,de->nte", x, W) + b)
    loss = ((pt.einsum("nte,ef->ntf", h, V) + c) ** 2).mean()
    layers = kfgn.trace_layers(loss, [W, b, V, c]).layers
    assert [(layer.weight, layer.bias) for layer in layers] == [(W, b), (V, c)]
