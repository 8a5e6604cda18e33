"""Products with diagonal and selection matrices stay cheap where a loss has some."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.math import Dot

from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.base import STRUCTURED_PRODUCTS, mode_for

X, D = pt.matrix("x", shape=(4, 3)), pt.vector("d", shape=(3,))
STRUCTURED = {
    "diagonal": X @ pt.diag(D),
    "selection": X @ pt.eye(3)[:, np.array([2, 0])] * D[:2],
    "constant": X @ pt.constant(np.eye(3)[:, [2, 0]]) * D[:2],
}


@pytest.mark.parametrize("name", STRUCTURED)
def test_a_structured_product_of_the_loss_is_no_dot(name, rng):
    product = STRUCTURED[name]
    mode = mode_for(resolve_backend("jax"), product.sum())
    function = pytensor.function([X, D], product, mode=mode)
    x, d = rng.normal(size=(4, 3)), rng.normal(size=3)
    right = x * d if name == "diagonal" else x[:, [2, 0]] * d[:2]
    np.testing.assert_allclose(function(x, d), right, rtol=1e-12)
    assert not any(isinstance(node.op, Dot) for node in function.maker.fgraph.apply_nodes)


def test_the_rewrites_are_left_out_of_a_loss_without_such_matrices():
    backend = resolve_backend("jax")
    plain = mode_for(backend, (X @ X.T).sum())
    assert set(STRUCTURED_PRODUCTS) <= set(plain._optimizer.exclude)
    for product in STRUCTURED.values():
        mode = mode_for(backend, product.sum())
        assert not set(STRUCTURED_PRODUCTS) & set(mode._optimizer.exclude)
