"""Parameters outside the layers: the diagonal of the Gauss-Newton matrix, exact and estimated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn
from kfgn_graph.linalg.random import Draws
from tests.layers.test_copies import NETS, images, x, y
from tests.layers.test_lookups import continues_from_a_file

EXACT = 1e-9
N = 5
PLAIN = Mode(linker="py", optimizer=None)
counter = pt.scalar("counter", dtype="uint32")


@pytest.fixture
def nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every parameter outside the layers as one that is too large for a dense block."""
    monkeypatch.setattr("kfgn_graph.layers.lookups.LARGEST", 0)


@pytest.mark.usefixtures("nothing_is_copied")
@pytest.mark.parametrize("name", ["weight_norm", "masked_weight", "tied", "unrolled_recurrence"])
def test_the_exact_diagonal(name: str, rng: np.random.Generator) -> None:
    def parameter(name: str, *shape: int) -> Any:
        return pytensor.shared(0.7 * rng.normal(size=shape), name=name)

    z, parameters = NETS[name](parameter)
    data = [rng.normal(size=(N, 3)), rng.normal(size=(N, 4, 3))]
    shape = pytensor.function([x, images], z, mode=PLAIN, on_unused_input="ignore")(*data).shape
    graph = kfgn.trace_layers(0.5 * ((z - y) ** 2).sum(axis=1).mean(), parameters)
    assert graph.diagonal and not any(layer.copies for layer in graph.layers)
    held = [layer.weight for layer in graph.layers] + [each.weight for each in graph.diagonal]
    assert set(held) <= set(parameters)
    blocks = kfgn.curvature_factors(graph, kfgn.BlockGaussNewton())
    v = [rng.normal(size=p.get_value().shape) for p in parameters]
    found = [
        *(blocks[each].values for each in graph.diagonal),
        *kfgn.gauss_newton_product(graph, [pt.constant(a) for a in v]),
        *(pt.jacobian(z.flatten(), p, vectorize=True) for p in parameters),
    ]
    compiled = pytensor.function([x, images, y], found, mode=PLAIN, on_unused_input="ignore")
    values = iter(compiled(*data, np.zeros(shape)))
    diagonals = {each.weight: next(values) for each in graph.diagonal}
    products = [next(values) for _ in parameters]
    J = {p: next(values).reshape(-1, p.get_value().size) for p in parameters}
    for p, d in diagonals.items():
        np.testing.assert_allclose(d.ravel(), (J[p] ** 2).sum(axis=0) / N, atol=EXACT)
    image = sum(J[p] @ a.ravel() for p, a in zip(parameters, v, strict=True)) / N
    for p, product in zip(parameters, products, strict=True):
        np.testing.assert_allclose(product.ravel(), J[p].T @ image, atol=EXACT)


def masked(loss: str, rng: np.random.Generator) -> kfgn.LayerGraph:
    """Return a network with a masked weight as its only parameter."""
    W = pytensor.shared(rng.normal(size=(3, 2)), name="W")
    z = pt.specify_shape(pt.tanh(x @ (W * np.array([[1.0, 2], [0.5, 1], [1, 0]]))), (None, 2))
    losses = {
        "squared": ((z - y) ** 2).sum(axis=1).mean(),
        "softmax": -(y * pt.special.log_softmax(z, axis=-1)).sum(axis=1).mean(),
    }
    return kfgn.trace_layers(losses[loss], [W])


@pytest.mark.usefixtures("nothing_is_copied")
@pytest.mark.parametrize("loss", ["squared", "softmax"])
@pytest.mark.parametrize(
    "method", [kfgn.KFLR(), kfgn.KFRA(), kfgn.KFAC(samples=2)], ids=["KFLR", "KFRA", "KFAC"]
)
def test_the_estimate_is_unbiased(method: Any, loss: str, rng: np.random.Generator) -> None:
    """The square of a sum with random signs has at most twice its squared mean as variance.

    A column that is drawn from the model's distribution adds to it. Six standard deviations of the
    mean over the draws bound each entry.
    """
    graph, draws = masked(loss, rng), 300
    (each,) = graph.diagonal
    found = [
        kfgn.curvature_factors(graph, method, Draws(counter))[each].values,
        kfgn.curvature_factors(graph, kfgn.BlockGaussNewton())[each].values,
    ]
    compiled = pytensor.function([counter, x, y], found, on_unused_input="ignore", mode=PLAIN)
    batch = rng.normal(size=(N, 3)), np.eye(2)[rng.integers(0, 2, size=N)]
    estimates = np.array([compiled(np.uint32(i), *batch)[0] for i in range(draws)])
    exact = np.asarray(compiled(np.uint32(0), *batch)[1])
    assert (estimates >= 0).all() and estimates.std() > 0
    deviation = np.maximum(np.sqrt(2) * exact, estimates.std(axis=0)) / np.sqrt(draws)
    assert (np.abs(estimates.mean(axis=0) - exact) <= 6 * deviation).all()


@pytest.mark.usefixtures("nothing_is_copied")
def test_one_example_with_one_output_is_exact(rng: np.random.Generator) -> None:
    W = pytensor.shared(rng.normal(size=(3, 1)), name="W")
    z = pt.specify_shape(x @ pt.softplus(W), (None, 1))
    graph = kfgn.trace_layers(((z - y) ** 2).mean(), [W])
    (each,) = graph.diagonal
    found = [
        kfgn.curvature_factors(graph, m, Draws(counter))[each].values
        for m in (kfgn.KFLR(), kfgn.KFRA())
    ]
    compiled = pytensor.function([counter, x, y], found, mode=PLAIN, on_unused_input="ignore")
    X = rng.normal(size=(1, 3))
    slope = 1 / (1 + np.exp(-W.get_value()))
    for value in compiled(np.uint32(3), X, np.zeros((1, 1))):
        np.testing.assert_allclose(value, 2 * (X.T * slope) ** 2, atol=EXACT)


@pytest.mark.usefixtures("nothing_is_copied")
def test_the_exact_hessian_has_no_block_for_it(rng: np.random.Generator) -> None:
    with pytest.raises(kfgn.SpecError, match="BlockGaussNewton"):
        kfgn.curvature_factors(masked("squared", rng), kfgn.BlockHessian())


def test_a_large_normalised_weight_trains_and_resumes(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    V = pytensor.shared((rng.normal(size=(128, 128)) / 11).astype("f"), name="V")
    U = pytensor.shared((rng.normal(size=(128, 3)) / 11).astype("f"), name="U")
    z = pt.tanh(x @ (V / pt.sqrt((V**2).sum(axis=0)))) @ U
    loss = ((z - y) ** 2).sum(axis=1).mean()
    update = kfgn.compile_update(loss, [V, U], [x, y], backend="jax")
    X = rng.normal(size=(64, 128)).astype("f")
    batch = X, np.tanh(X[:, :3])
    losses = [float(update(*batch).loss) for _ in range(25)]
    assert losses[-1] < 0.05 * losses[0]
    kept = update.state()["factors/V/diagonal"]
    assert kept.shape == V.get_value().shape and (kept >= 0).all() and kept.max() > 0
    (line,) = (each for each in update.explain().splitlines() if each.startswith("'V': "))
    assert "diagonal of the Gauss-Newton matrix" in line and "16,384 entries" in line
    assert continues_from_a_file(update, batch, tmp_path / "state")
