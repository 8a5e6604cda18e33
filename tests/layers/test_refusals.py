"""A loss or a parameter that no rule can treat is refused: what, where, and the remedy."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn

D, K = 3, 2


def shared(name: str, *shape: int, dtype: str = "float64") -> pt.TensorVariable:
    """Return a parameter of ones."""
    return pytensor.shared(np.ones(shape, dtype=dtype), name=name, shape=shape)


@pytest.fixture
def x() -> pt.TensorVariable:
    return pt.tensor("x", shape=(None, D))


@pytest.fixture
def y() -> pt.TensorVariable:
    return pt.tensor("y", shape=(None, K))


@pytest.fixture
def W() -> pt.TensorVariable:
    return shared("W", D, K)


def squared(z: pt.TensorVariable, y: pt.TensorVariable) -> pt.TensorVariable:
    return ((z - y) ** 2).sum(axis=1).mean()


# --- the loss ---------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_scalar(x, y, W) -> None:
    loss = ((x @ W - y) ** 2).sum(axis=1)
    loss.name = "losses"
    with pytest.raises(kfgn.NotABatchLossError, match=r"(?s)losses.*(mean|sum)"):
        kfgn.trace_layers(loss, [W])


def curvature_of(loss: pt.TensorVariable, params: list[pt.TensorVariable]) -> None:
    """Trace, and ask for the factors by the most general method."""
    kfgn.curvature_factors(kfgn.trace_layers(loss, params), kfgn.KFLR())


def test_a_loss_of_products_across_examples(x, y, W) -> None:
    residual = x @ W - y
    with pytest.raises(kfgn.NotABatchLossError, match="example"):
        curvature_of((residual.sum(axis=0) ** 2).sum(), [W])


def test_a_function_of_a_sum_that_is_linear_in_the_output(x, y, W) -> None:
    """With its derivative held constant such a loss would have no curvature."""
    with pytest.raises(kfgn.NotABatchLossError, match="example"):
        curvature_of(squared(x @ W, y) + pt.exp((x @ W).mean()), [W])


def test_a_net_with_batch_statistics(x, y, W) -> None:
    V = shared("V", D, D)
    h = pt.tanh(x @ V)
    h = (h - h.mean(axis=0)) / (h.std(axis=0) + 0.1)
    with pytest.raises(kfgn.NotABatchLossError, match="example"):
        curvature_of(squared(h @ W, y), [V, W])


def test_a_loss_normalised_over_the_batch(x, y, W) -> None:
    z = x @ W
    with pytest.raises(kfgn.NotABatchLossError, match="example"):
        curvature_of(squared(z - z.mean(axis=0), y), [W])


# --- the parameters ---------------------------------------------------------------------------


def test_a_parameter_that_the_loss_does_not_read(x, y, W) -> None:
    stray = shared("stray", 4, 4)
    with pytest.raises(kfgn.ParameterError, match="stray"):
        kfgn.trace_layers(squared(x @ W, y), [W, stray])


def test_the_path_to_the_use_is_shown(x, y) -> None:
    U = shared("oddly_used", D, K)
    loss = squared(x @ U, y) * pt.exp(U).sum()
    with pytest.raises(kfgn.UnmatchedParameterError, match=r"(?is)oddly_used.*exp"):
        kfgn.trace_layers(loss, [U])


def test_a_parameter_that_is_not_shared(x, y) -> None:
    U = pt.tensor("plain_input", shape=(D, K))
    with pytest.raises(kfgn.ParameterError, match=r"(?s)plain_input.*shared"):
        kfgn.trace_layers(squared(x @ U, y), [U])


@pytest.mark.parametrize("dtype", ["int64", "int8", "bool", "complex128"])
def test_a_parameter_of_the_wrong_kind(dtype: str, x, y) -> None:
    U = shared("wrong_kind", D, K, dtype=dtype)
    loss = squared(pt.real(x @ U) if dtype == "complex128" else x @ U.astype("float64"), y)
    with pytest.raises(kfgn.ParameterError, match=rf"(?s)wrong_kind.*{dtype}"):
        kfgn.trace_layers(loss, [U])


def test_a_parameter_given_twice(x, y, W) -> None:
    with pytest.raises(kfgn.ParameterError, match="W"):
        kfgn.trace_layers(squared(x @ W, y), [W, W])


def test_no_parameters(x, y, W) -> None:
    with pytest.raises(kfgn.ParameterError):
        kfgn.trace_layers(squared(x @ W, y), [])
