"""Softmax, log-softmax and maximum within a network: KFRA against its nested expectation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from tests.harness import assert_close, in_python
from tests.tolerances import EXACT

N, D, M, K = 5, 3, 6, 2
Array = np.ndarray
Step = Callable[[TensorVariable], TensorVariable]


def softmax(h: Array) -> Array:
    p = np.exp(h - h.max())
    return p / p.sum()


def selected(h: Array, groups: int, sign: int) -> Array:
    """Return the Jacobian of the maximum, or minimum, of each of consecutive groups."""
    J = np.zeros((groups, M))
    for g, row in enumerate(np.reshape(sign * h, (groups, -1))):
        J[g, g * len(row) + np.argmax(row)] = 1
    return J


STEPS: dict[str, tuple[Step, int, Callable[[Array], Array]]] = {
    "softmax": (
        lambda h: pt.special.softmax(h, axis=1),
        M,
        lambda h: np.diag(softmax(h)) - np.outer(softmax(h), softmax(h)),
    ),
    "log softmax": (
        lambda h: pt.special.log_softmax(h, axis=-1),
        M,
        lambda h: np.eye(M) - np.ones((M, 1)) * softmax(h),
    ),
    "maxout": (lambda h: h.reshape((-1, 3, 2)).max(axis=2), 3, lambda h: selected(h, 3, 1)),
    "least": (lambda h: h.reshape((-1, 2, 3)).min(axis=2), 2, lambda h: selected(h, 2, -1)),
}


@pytest.mark.parametrize("name", STEPS)
def test_the_expected_curvature_is_the_mean_over_examples(
    name: str, rng: np.random.Generator
) -> None:
    step, width, jacobian = STEPS[name]
    x, y = pt.matrix("x", shape=(None, D)), pt.matrix("y", shape=(None, K))
    W = pytensor.shared(rng.normal(size=(D, M)), name="W", shape=(D, M))
    V = pytensor.shared(rng.normal(size=(width, K)), name="V", shape=(width, K))
    h = x @ W
    loss = ((step(h) @ V - y) ** 2).sum(axis=1).mean()
    graph = kfgn.trace_layers(loss, [W, V])
    first = graph.layers[0]
    found = [kfgn.curvature_factors(graph, m)[first].G for m in (kfgn.KFRA(), kfgn.KFLR())]
    found.append(kfgn.curvature_factors(graph, kfgn.BlockHessian())[first].to_dense())
    found.append(pytensor.gradient.jacobian(pytensor.grad(loss, W).ravel(), W))
    data = rng.normal(size=(N, D)), rng.normal(size=(N, K))
    expected, exact, block, hessian = in_python([x, y], found)(*data)
    assert_close(block, hessian.reshape(D * M, D * M), EXACT)
    G = 2 * V.get_value() @ V.get_value().T
    nested = [J.T @ G @ J for J in map(jacobian, data[0] @ W.get_value())]
    assert_close(expected, np.mean(nested, axis=0), EXACT)
    assert_close(exact, np.mean(nested, axis=0), EXACT)  # G does not depend on the example


def test_a_skip_connection_past_a_softmax(rng: np.random.Generator) -> None:
    """The cross block needs E[J] alone: J^T G J of the joint step is (I + J)^T G (I + J)."""
    x, y = pt.matrix("x", shape=(None, D)), pt.matrix("y", shape=(None, M))
    W = pytensor.shared(rng.normal(size=(D, M)), name="W", shape=(D, M))
    V = pytensor.shared(rng.normal(size=(M, M)), name="V", shape=(M, M))
    h = x @ W
    z = h + pt.special.softmax(h, axis=1) @ V
    graph = kfgn.trace_layers(((z - y) ** 2).sum(axis=1).mean(), [W, V])
    factors = kfgn.curvature_factors(graph, kfgn.KFRA())
    (G,) = in_python([x, y], [factors[graph.layers[0]].G])(
        data := rng.normal(size=(N, D)), np.zeros((N, M))
    )
    nested = []
    for row in data @ W.get_value():
        J = V.get_value().T @ STEPS["softmax"][2](row) + np.eye(M)
        nested.append(2 * J.T @ J)
    assert_close(G, np.mean(nested, axis=0), EXACT)
