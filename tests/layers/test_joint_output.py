"""A loss that reads several outputs is split at their joint output, with the exact curvature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph.heads import find_head
from tests.harness import MODES, assert_close, in_python
from tests.reference.output_curvature import gauss_newton
from tests.stepping import on_backends
from tests.tolerances import EXACT, SINGLE

pytestmark = pytest.mark.thorough

N, D, M = 7, 3, 2


@dataclass(frozen=True)
class Problem:
    """A network with several outputs and its loss, written once for PyTensor and JAX.

    Attributes
    ----------
    shapes : dict
        The shapes of the parameters.
    outputs : callable
        ``(m, x, e, p) -> list of outputs``, for noise e and parameters p by name.
    loss : callable
        ``(m, z, y, k) -> loss``, for real targets y (N, M) and labels k (N,).
    independent : bool
        The outputs meet in sums alone, so that H is block-diagonal.
    """

    shapes: dict[str, tuple[int, ...]]
    outputs: Callable[..., list[Any]]
    loss: Callable[..., Any]
    independent: bool = False


def softplus(m: Any, z: Any) -> Any:
    return m.log1p(m.exp(z))


def heads(m: Any, x: Any, e: Any, p: Any) -> list[Any]:
    h = m.tanh(x @ p["W"] + p["b"])
    return [h @ p["A"] + p["a"], h @ p["B"] + p["c"]]


HEADS = {"W": (D, 4), "b": (4,), "A": (4, M), "a": (M,), "B": (4, M), "c": (M,)}


def gaussian(m: Any, z: Any, y: Any, k: Any) -> Any:
    mean, log_variance = z
    return (0.5 * log_variance + 0.5 * (y - mean) ** 2 * m.exp(-log_variance)).sum(axis=1).mean()


def scalar_gaussian(m: Any, z: Any, y: Any, k: Any) -> Any:
    mean, log_variance = z[0][:, 0], z[1][:, 0]
    return (0.5 * log_variance + 0.5 * (y[:, 0] - mean) ** 2 * m.exp(-log_variance)).mean()


def two_tasks(m: Any, z: Any, y: Any, k: Any) -> Any:
    return ((z[0] - y) ** 2).mean() + (softplus(m, z[1]) - k[:, None] * z[1]).mean()


def encoder_and_decoder(m: Any, x: Any, e: Any, p: Any) -> list[Any]:
    mean, log_variance = heads(m, x, e, p)
    code = mean + m.exp(0.5 * log_variance) * e
    return [mean, log_variance, code @ p["V"] + p["v"]]


def evidence(m: Any, z: Any, y: Any, k: Any) -> Any:
    mean, log_variance, logits = z
    divergence = 0.5 * (m.exp(log_variance) + mean**2 - 1 - log_variance).sum(axis=1)
    likelihood = (softplus(m, logits) - m.tanh(y) ** 2 * logits).sum(axis=1)
    return (divergence + likelihood).mean()


def scalar_heads(m: Any, x: Any, e: Any, p: Any) -> list[Any]:
    h = m.tanh(x @ p["W"] + p["b"])
    return [h @ p["A"] + p["a"], h @ p["B"] + p["c"]]


def activity(m: Any, x: Any, e: Any, p: Any) -> list[Any]:
    h = x @ p["W"] + p["b"]
    return [h, m.tanh(h) @ p["A"] + p["a"]]


def with_activity(m: Any, z: Any, y: Any, k: Any) -> Any:
    return (((z[1] - y) ** 2).sum(axis=1) + 0.1 * (z[0] ** 4).sum(axis=1)).mean()


ONE = {"W": (D, 4), "b": (4,), "A": (4, 1), "a": (1,), "B": (4, 1), "c": (1,)}
PROBLEMS = {
    "mean and log variance": Problem(HEADS, heads, gaussian),
    "scalar mean and log variance": Problem(ONE, scalar_heads, scalar_gaussian),
    "two tasks": Problem(HEADS, heads, two_tasks, independent=True),
    "autoencoder": Problem(HEADS | {"V": (M, M), "v": (M,)}, encoder_and_decoder, evidence, True),
    "activity": Problem(
        {"W": (D, 4), "b": (4,), "A": (4, M), "a": (M,)}, activity, with_activity, True
    ),
}


class Tensors:
    """The functions of PyTensor that the problems take."""

    tanh, exp, log1p = pt.tanh, pt.exp, pt.log1p


def built(problem: Problem, dtype: str = "float64", static: bool = True) -> tuple[Any, ...]:
    """Return the loss, the parameters by name, and the inputs (x, e, y, k)."""
    r = np.random.default_rng(0)
    p = {
        name: pytensor.shared(
            (r.normal(size=shape) / 2).astype(dtype),
            name=name,
            shape=shape if static else (None,) * len(shape),
        )
        for name, shape in problem.shapes.items()
    }
    x, e, y = (
        pt.tensor(n, dtype=dtype, shape=(None, d)) for n, d in (("x", D), ("e", M), ("y", M))
    )
    k = pt.lvector("k")
    z = problem.outputs(Tensors, x, e, p)
    inputs = [x, e, y, k]
    return problem.loss(Tensors, z, y, k), p, inputs


def batch(dtype: str = "float64", n: int = N) -> list[np.ndarray]:
    r = np.random.default_rng(1)
    reals = [r.normal(size=(n, d)).astype(dtype) for d in (D, M, M)]
    return [*reals, r.integers(0, 2, n)]


def dense(problem: Problem, p: dict[str, Any], arrays: list[np.ndarray]) -> np.ndarray:
    x, e, y, k = (a.astype("float64") if a.dtype.kind == "f" else a for a in arrays)

    def forward(*values: jax.Array) -> list[jax.Array]:
        return problem.outputs(jnp, x, e, dict(zip(p, values, strict=True)))

    values = [v.get_value() for v in p.values()]
    return gauss_newton(forward, lambda z: problem.loss(jnp, z, y, k), values)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_products_are_those_of_all_outputs_together(name: str, dtype: str) -> None:
    problem, arrays = PROBLEMS[name], batch(dtype)
    loss, p, inputs = built(problem, dtype)
    graph = kfgn.trace_layers(loss, list(p.values()))
    vectors = [pt.constant(np.full(v.get_value().shape, 0.3, dtype)) for v in p.values()]
    products = kfgn.gauss_newton_product(graph, vectors)
    value, own, *found = in_python(inputs, [graph.loss, loss, *products])(*arrays)
    assert_close(value, own, SINGLE)
    matrix = dense(problem, p, arrays)
    wanted = matrix @ np.full(len(matrix), 0.3)
    tolerance = EXACT if dtype == "float64" else SINGLE
    assert_close(np.concatenate([a.ravel() for a in found]), wanted, tolerance)


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_blocks_are_those_of_all_outputs_together(name: str, static: bool) -> None:
    problem, arrays = PROBLEMS[name], batch()
    loss, p, inputs = built(problem, static=static)
    graph = kfgn.trace_layers(loss, list(p.values()))
    factors = kfgn.curvature_factors(graph, kfgn.BlockGaussNewton())
    blocks = [factors[layer].to_dense() for layer in graph.layers]
    found = in_python(inputs, blocks)(*arrays)
    matrix = dense(problem, p, arrays)
    sizes = [int(np.prod(shape)) for shape in problem.shapes.values()]
    starts = dict(zip(problem.shapes, np.cumsum([0, *sizes[:-1]]), strict=True))
    for layer, block in zip(graph.layers, found, strict=True):
        rows = slice(starts[layer.name], starts[layer.name] + len(block))
        assert_close(block, matrix[rows, rows], EXACT)


def test_outputs_that_meet_in_a_sum_have_a_head_each() -> None:
    for problem in PROBLEMS.values():
        loss, p, _ = built(problem)
        head = find_head(kfgn.trace_layers(loss, list(p.values())))
        assert (len(getattr(head, "blocks", ())) > 1) == problem.independent


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("mean and log variance", kfgn.KFLR()),
        ("mean and log variance", kfgn.KFAC()),
        ("autoencoder", kfgn.KFRA()),
    ],
    ids=str,
)
def test_training_makes_steps(name: str, method: Any, backend: str) -> None:
    loss, p, inputs = built(PROBLEMS[name])
    update = kfgn.compile_update(loss, list(p.values()), inputs, method=method, backend=backend)
    stats = [update(*batch(n=300)) for _ in range(10)]
    assert not any(s.skipped for s in stats)
    assert float(stats[-1].loss) < float(stats[0].loss) - 0.1


def separate_means(name: str, z: list[Any], x: Any, y: Any) -> Any:
    """Return a loss that is a sum of means, each over another output."""
    if name == "two tasks":
        return ((z[0] - y) ** 2).sum(axis=1).mean() + pt.softplus(z[1]).sum(axis=1).mean()
    if name == "activity":
        return ((z[1] - y) ** 2).sum(axis=1).mean() + 0.1 * (z[0] ** 2).sum(axis=1).mean()
    mean, log_variance, code = z
    divergence = 0.5 * (pt.exp(log_variance) + mean**2 - 1 - log_variance).sum(axis=1).mean()
    return divergence + ((code - y) ** 2).sum(axis=1).mean()


@pytest.mark.parametrize("name", ["two tasks", "activity", "autoencoder"])
def test_sums_of_means_train_on_more_examples_than_the_model_takes(name: str) -> None:
    """The step rule takes the quadratic model from the first 250 examples, read like the rest."""
    problem = PROBLEMS[name]
    _, p, (x, e, y, k) = built(problem, static=False)
    loss = separate_means(name, problem.outputs(Tensors, x, e, p), x, y)
    updates = kfgn.kfgn_updates(loss, list(p.values()), method=kfgn.KFLR())
    step = pytensor.function(
        [x, e, y, k], loss, updates=updates, mode="FAST_COMPILE", on_unused_input="ignore"
    )
    losses = [float(step(*batch(n=300))) for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]


def test_labels_masked_by_a_switch_split_at_the_logits() -> None:
    """The masked loss of an example is linear in the loss of the example."""
    x, y = pt.matrix("x", shape=(None, D)), pt.lvector("y")
    W = pytensor.shared(np.random.default_rng(0).normal(size=(D, 3)), name="W", shape=(D, 3))
    each = -pt.special.log_softmax(x @ W, axis=1)[pt.arange(y.shape[0]), pt.maximum(y, 0)]
    loss = pt.switch(y >= 0, each, 0.0).sum() / (y >= 0).sum()
    graph = kfgn.trace_layers(loss, [W])
    X = batch()[0]
    labels = np.array([0, -1, 2, 1, -1, 0, 2])
    v = np.full((D, 3), 0.3)
    v[:, 0] = 1.0
    product = kfgn.gauss_newton_product(graph, [pt.constant(v)])

    def loss_of(z: list[jax.Array]) -> jax.Array:
        chosen = jax.nn.log_softmax(z[0])[jnp.arange(N), np.maximum(labels, 0)]
        return -jnp.where(labels >= 0, chosen, 0.0).sum() / (labels >= 0).sum()

    wanted = gauss_newton(lambda w: [X @ w], loss_of, [W.get_value()]) @ v.ravel()
    assert_close(in_python([x, y], product)(X, labels)[0].ravel(), wanted, EXACT)


def test_a_loss_without_curvature_is_refused() -> None:
    x, y = pt.matrix("x", shape=(None, D)), pt.matrix("y", shape=(None, M))
    W = pytensor.shared(np.ones((D, M)), name="W", shape=(D, M))
    z = x @ W
    for output in (None, z):
        with pytest.raises(kfgn.CurvatureRuleNotFound, match=r"(?s)linear.*output="):
            kfgn.trace_layers((y * z).mean(), [W], output=output)


def test_outputs_with_different_rows_are_refused() -> None:
    """Tokens are flattened to rows for one task, and averaged for the other."""
    x = pt.tensor3("x", shape=(None, 2, D))
    A, B = (pytensor.shared(np.ones((D, M)), name=n, shape=(D, M)) for n in "AB")
    loss = ((x.reshape((-1, D)) @ A) ** 2).mean() + ((x.mean(axis=1) @ B) ** 2).mean()
    with pytest.raises(kfgn.CurvatureRuleNotFound, match=r"(?s)outputs.*output="):
        kfgn.trace_layers(loss, [A, B])


def test_a_concave_function_of_an_examples_loss_is_split_at_the_outputs() -> None:
    """The targets are the inputs, and the loss of an example is bent once more."""
    x = pt.matrix("x", shape=(None, D))
    p = {
        n: pytensor.shared(np.full((D, D), 0.1 * k), name=n, shape=(D, D))
        for k, n in enumerate("AB", 1)
    }
    mean, log_variance = x @ p["A"], x @ p["B"]
    energy = (0.5 * log_variance + 0.5 * (x - mean) ** 2 * pt.exp(-log_variance)).sum(axis=1)
    graph = kfgn.trace_layers(pt.log(2.0 + pt.exp(energy)).mean(), list(p.values()))
    assert graph.output.type.shape[1] == 2 * D


def test_a_skip_connection_is_not_a_loss() -> None:
    x, y = pt.matrix("x", shape=(None, D)), pt.matrix("y", shape=(None, D))
    p = {n: pytensor.shared(np.eye(D), name=n, shape=(D, D)) for n in "AB"}
    h = x @ p["A"]
    z = pt.tanh(h) @ p["B"] + h + x
    graph = kfgn.trace_layers(((z - y) ** 4).sum(axis=1).mean(), list(p.values()))
    assert graph.output.type.shape[1] == D
