"""Each loss head against the loss's Hessian by brute force, and the recognition of each loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from kfgn_graph.heads import (
    BernoulliHead,
    DiagonalHead,
    GenericHead,
    Head,
    SoftmaxHead,
    SquaredErrorHead,
    find_head,
)
from kfgn_graph.heads.elementwise import match_elementwise
from kfgn_graph.linalg.random import Draws
from tests.cases import jax_loss
from tests.harness import assert_close, in_python
from tests.languages import PYTENSOR, jax_language
from tests.losses import LOSSES, Loss
from tests.reference.dense import loss_hessians
from tests.tolerances import EXACT

K, COLUMNS, SAMPLES = 3, 2, 4000
#: How many standard errors a mean of random columns may be off.
ERRORS = 5.0

#: The shape of one example's output, where it is not (K,).
EVENTS = {"squared_3d": (2, K), "probability": (), "column_squared": ()}

KINDS: dict[type[Head], set[str]] = {
    SquaredErrorHead: {
        *("half_rows", "rows", "mean_first", "total", "half_total", "all_elements", "product"),
        *("scaled_squared", "squared_3d", "weighted", "library_squared", "column_squared"),
    },
    BernoulliHead: {n for n in LOSSES if n.startswith("bernoulli") and n != "bernoulli_signed"},
    SoftmaxHead: {
        *("softmax_naive", "softmax_log", "log_softmax", "logsumexp", "library_labels"),
        *(name for name in LOSSES if name.startswith("labels")),
        "library_one_hot",
    },
    # the last is Bernoulli's for labels of 0 and 1 alone, which the graph does not say they are
    DiagonalHead: {"poisson", "huber", "log_cosh", "probability", "bernoulli_signed"},
    GenericHead: {"coupled", "heteroscedastic", "two_parts"},
}
EVERYDAY = {"rows", "bernoulli", "labels", "poisson", "heteroscedastic"}  # one of each kind
EVERY = [
    pytest.param(name, marks=[] if name in EVERYDAY else pytest.mark.thorough) for name in LOSSES
]
KIND = {name: kind for kind, names in KINDS.items() for name in names}


@dataclass(frozen=True)
class Graph:
    """A loss's head, and the variables of the loss's targets."""

    head: Head
    targets: list[TensorVariable]

    def verbs(self) -> Verbs:
        """Compile the head's verbs."""
        return Verbs(self.head, self.targets)


class Verbs:
    """All of a head's verbs but the random columns, as one compiled function."""

    def __init__(self, head: Head, targets: list[TensorVariable]) -> None:
        z = head.output
        direction = z.type("direction")
        start = pt.lscalar("start")
        self._function = in_python(
            [z, *targets, direction, start],
            [
                head.hessians(),
                head.psd_hessians(),
                head.summed_hessian(),
                head.square_root(0, COLUMNS),
                head.square_root(start, COLUMNS),
                head.curvature_times(direction),
            ],
        )

    def check(
        self,
        true: np.ndarray,
        z: np.ndarray,
        targets: tuple[np.ndarray, ...],
        rng: np.random.Generator,
    ) -> None:
        """Compare with the Hessian (R, K, K) of each example."""
        r, k, _ = true.shape
        nearest = semidefinite_part(true)
        direction = rng.normal(size=z.shape)
        columns = []
        for start in range(0, k, COLUMNS):
            hessians, psd, total, first, next_columns, product = self._function(
                z, *targets, direction, start
            )
            assert first.shape == next_columns.shape == (COLUMNS, *z.shape)
            if start == 0:
                assert_close(first, next_columns, EXACT)
            columns.append(next_columns.reshape((COLUMNS, r, k)))
        root = np.concatenate(columns)
        assert not root[k:].any(), "columns beyond K are not zero"
        assert_close(hessians, true, EXACT)
        assert_close(psd, nearest, EXACT)
        assert_close(total, nearest.sum(axis=0), EXACT)
        assert_close(np.einsum("kri,krj->rij", root, root), nearest, EXACT)
        times = np.einsum("rij,rj->ri", nearest, direction.reshape((r, k)))
        assert_close(product, times.reshape(z.shape), EXACT)


def semidefinite_part(hessians: np.ndarray) -> np.ndarray:
    """Return each (K, K) matrix without its negative eigenvalues."""
    kept = []
    for H in hessians:
        values, vectors = np.linalg.eigh(H)
        kept.append(
            sum(max(v, 0.0) * np.outer(u, u) for v, u in zip(values, vectors.T, strict=True))
        )
    return np.stack(kept)


@cache
def graph_of(name: str, dtype: str = "float64") -> Graph:
    """Trace a layer with that loss, and find the loss's head."""
    loss, event = LOSSES[name], EVENTS.get(name, (K,))
    W = pytensor.shared(np.ones((K, event[-1] if event else 1), dtype), name="W")
    x = pt.tensor("x", dtype=dtype, shape=(None, *event[:-1], K))
    z = x @ W if event else (x @ W)[:, 0]
    if name == "probability":
        z = pt.sigmoid(z)
    example = loss.targets(np.random.default_rng(0), 1, event)
    targets = [
        pt.tensor(dtype=dtype if t.dtype.kind == "f" else t.dtype, shape=(None, *t.shape[1:]))
        for t in example
    ]
    value = (
        loss.forward(PYTENSOR, z, *targets) if loss.library is None else loss.library(z, *targets)
    )
    graph = kfgn.trace_layers(value, [W], output=z if name == "probability" else None)
    return Graph(find_head(graph), targets)


def drawn(loss: Loss, n: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Draw an output and the targets of ``n`` examples."""
    event = EVENTS.get(loss.name, (K,))
    draw = rng.uniform(0.1, 0.9, (n, *event)) if loss.name == "probability" else None
    z = rng.normal(size=(n, *event)) if draw is None else draw
    return z, loss.targets(rng, n, event)


@pytest.mark.parametrize("name", EVERY)
def test_a_loss_is_recognised(name: str) -> None:
    assert type(graph_of(name).head) is KIND[name]


@pytest.mark.parametrize("name", EVERY)
def test_a_head_is_the_hessian_of_its_loss(name: str, rng: np.random.Generator) -> None:
    loss, graph = LOSSES[name], graph_of(name)
    verbs = graph.verbs()
    for n in (1, 5):
        z, targets = drawn(loss, n, rng)
        true = loss_hessians(partial(jax_loss, loss), z, targets, graph.head.example_axes)
        verbs.check(true, z, targets, rng)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["half_rows", "squared_3d", "bernoulli", "poisson"])
def test_the_diagonal_head_of_any_sum_over_outputs(name: str, rng: np.random.Generator) -> None:
    loss, graph = LOSSES[name], graph_of(name)
    head = DiagonalHead(graph.head.output, 1, graph.head.loss)
    z, targets = drawn(loss, 5, rng)
    true = loss_hessians(partial(jax_loss, loss), z, targets, 1)
    Graph(head, graph.targets).verbs().check(true, z, targets, rng)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["half_rows", "squared_3d", "bernoulli", "labels", "poisson"])
def test_the_generic_head_of_any_loss(name: str, rng: np.random.Generator) -> None:
    loss, graph = LOSSES[name], graph_of(name)
    head = GenericHead(graph.head.output, 1, graph.head.loss)
    z, targets = drawn(loss, 5, rng)
    true = loss_hessians(partial(jax_loss, loss), z, targets, 1)
    Graph(head, graph.targets).verbs().check(true, z, targets, rng)


def test_negative_weights_of_a_head_from_outside_count_as_zero() -> None:
    @dataclass(frozen=True, eq=False)
    class Signed(DiagonalHead):
        def weights(self):
            return pt.constant(np.array([[-1.0, 2.0]])) * pt.ones_like(self.output)

    z = pt.dmatrix("z")
    head = Signed(z, 1, (z**2).sum())
    Z = np.zeros((3, 2))
    for made, wanted in (
        (head.summed_hessian(), [[0, 0], [0, 6]]),
        (head.square_root(0, 2).sum(axis=0), [[0, 2**0.5]] * 3),
        (head.curvature_times(pt.ones_like(z)), [[0, 2]] * 3),
    ):
        np.testing.assert_allclose(made.eval({z: Z}), wanted, rtol=1e-14, atol=0)


def test_the_diagonal_head_drops_negative_curvature(rng: np.random.Generator) -> None:
    z, y = pt.matrix("z"), pt.matrix("y")

    def loss(m: Any, z: Any, y: Any) -> Any:
        return ((z**2 - y) ** 2).sum()

    head = match_elementwise(loss(PYTENSOR, z, y), z, 1)
    assert type(head) is DiagonalHead
    values, targets = rng.normal(size=(5, K)), (rng.normal(size=(5, K)),)
    true = loss_hessians(partial(loss, None), values, targets, 1)
    assert true.min() < 0
    Graph(head, [y]).verbs().check(true, values, targets, rng)


TWO_AXES: dict[str, tuple[type[Head], Callable[..., Any]]] = {
    "squared": (SquaredErrorHead, lambda m, z, y: 0.5 * ((z - y) ** 2).mean()),
    "bernoulli": (BernoulliHead, lambda m, z, y: (m.softplus(z) - y * z).sum()),
    "softmax": (SoftmaxHead, lambda m, z, y: -(y * m.log_softmax(z)).sum(axis=-1).mean()),
    "cubes": (DiagonalHead, lambda m, z, y: (m.abs(z - y) ** 3).sum()),
    "coupled": (GenericHead, lambda m, z, y: (((z - y) ** 2).sum(axis=-1) ** 2).sum()),
}


@pytest.mark.parametrize("name", TWO_AXES)
def test_examples_over_two_axes(name: str, rng: np.random.Generator) -> None:
    kind, loss = TWO_AXES[name]
    W = pytensor.shared(np.ones((K, K)), name="W")
    x, y = pt.tensor("x", shape=(None, None, K)), pt.tensor("y", shape=(None, None, K))
    head = find_head(kfgn.trace_layers(loss(PYTENSOR, x @ W, y), [W]))
    assert type(head) is kind
    assert head.example_axes == 2
    verbs = Graph(head, [y]).verbs()
    for shape in ((1, 1), (2, 3)):
        values = rng.normal(size=(*shape, K))
        targets = (rng.dirichlet(np.ones(K), size=shape),)
        true = loss_hessians(partial(loss, jax_language({}, {})), values, targets, 2)
        verbs.check(true, values, targets, rng)


def test_a_categorical_output_at_each_position(rng: np.random.Generator) -> None:
    """Positions that a network mixes are no examples: they belong to an example's output."""
    W, V = (pytensor.shared(np.ones((K, K)), name=name) for name in "WV")
    x, y = pt.tensor("x", shape=(None, 2, K)), pt.lmatrix("y")
    h = pt.tanh(x @ W)
    log_p = pt.special.log_softmax((h + h.mean(axis=1, keepdims=True)) @ V, axis=-1)
    loss = -pt.take_along_axis(log_p, y[..., None], axis=-1).mean()
    head = find_head(kfgn.trace_layers(loss, [W, V]))
    assert type(head) is SoftmaxHead
    assert head.example_axes == 1

    def in_jax(z: Any, one_hot: Any) -> Any:
        return -(jax_language({}, {}).log_softmax(z) * one_hot).sum(axis=-1).mean()

    for n in (1, 4):
        values, labels = rng.normal(size=(n, 2, K)), rng.integers(0, K, (n, 2))
        true = loss_hessians(in_jax, values, (np.eye(K)[labels],), 1)
        Graph(head, [y]).verbs().check(true, values, (labels,), rng)


@pytest.mark.parametrize(
    "name", ["rows", "squared_3d", "weighted", "bernoulli", "labels", "poisson", "heteroscedastic"]
)
def test_random_columns_are_the_hessian_in_the_mean(name: str, rng: np.random.Generator) -> None:
    """And those of different examples have nothing to do with each other."""
    loss, graph = LOSSES[name], graph_of(name)
    z, targets = drawn(loss, 3, rng)
    axes = graph.head.example_axes
    true = semidefinite_part(loss_hessians(partial(jax_loss, loss), z, targets, axes))
    r, k, _ = true.shape
    counter = pt.constant(np.uint32(rng.integers(2**31)))
    columns = graph.head.sampled(Draws(counter), SAMPLES)
    (found,) = in_python([graph.head.output, *graph.targets], [columns])(z, *targets)
    assert found.shape == (SAMPLES, *z.shape)
    c = found.reshape((SAMPLES, r * k)) * np.sqrt(SAMPLES)
    products = c[:, :, None] * c[:, None, :]
    expected = np.zeros((r, k, r, k))
    expected[range(r), :, range(r), :] = true
    expected = expected.reshape((r * k, r * k))
    error = np.abs(products.mean(axis=0) - expected)
    allowed = ERRORS * products.std(axis=0) / np.sqrt(SAMPLES) + EXACT
    assert (error <= allowed).all()
    assert allowed.max() <= expected.max(), "the bound is no bound"


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["rows", "weighted", "bernoulli", "labels", "huber", "coupled"])
def test_single_precision_stays_single(name: str) -> None:
    head = graph_of(name, "float32").head
    expressions = [
        head.hessians(),
        head.psd_hessians(),
        head.summed_hessian(),
        head.square_root(0, COLUMNS),
        head.sampled(Draws(pt.constant(np.uint32(1))), 2),
        head.curvature_times(head.output.type()),
    ]
    assert {e.type.dtype for e in expressions} == {"float32"}
