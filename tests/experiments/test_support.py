"""Networks as their authors write them: read with the exact curvature, or refused by an error."""

from __future__ import annotations

import json

import numpy as np
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from experiments.support.__main__ import FOLDER
from experiments.support.catalogue import Entry, Network, catalogue
from experiments.support.checks import TOLERANCE, examine
from experiments.support.judge import Judge, NotLocated
from experiments.support.networks.drawing import layer
from experiments.support.running import examined
from experiments.support.table import counts, exact, markdown, read, trained

ENTRIES = catalogue()
ROWS = json.loads((FOLDER / "support.json").read_text("utf-8"))["rows"]
#: The networks that the published table has as read, and whose package is installed.
READ = [row["name"] for row in ROWS if row["layers"] is not None and row["name"] in ENTRIES]
#: Networks of several kinds, read and refused, that take less than a second each.
FAST = frozenset(
    {
        "act softmax hidden",
        "batch second",
        "bilinear",
        "dropout",
        "l1 loss",
        "label smoothing",
        "logreg",
        "lora peft",
        "lstm",
        "masked labels",
        "mlp probabilities",
        "mse",
        "onehot logreg",
        "poisson offset",
        "policy gradient",
        "siamese",
        "signed weights mse",
        "swiglu",
        "weight left",
    }
)


#: Networks that the compiler splits at other outputs than their authors, where the Gauss-Newton
#: matrix is another one: only the loss can be compared.
SPLIT_ELSEWHERE = frozenset({"global sigma", "negbin", "realnvp", "heat equation"})
#: Networks with a function of sums over the examples: the curvature leaves out the term that
#: couples the examples, which brute force includes.
HELD = frozenset({"rmse", "sparse ae"})


def rows() -> list[object]:
    """Return every network of the catalogue as a case; most take a second or more."""
    slow = pytest.mark.slow
    return [pytest.param(name, marks=() if name in FAST else slow) for name in ENTRIES]


@pytest.mark.parametrize("name", rows())
def test_a_network_is_read_exactly_or_refused(name: str) -> None:
    result = examine(ENTRIES[name])
    assert [f for f in result.failures.values() if not f.refused] == []
    if name in READ:
        assert result.layers
    if name in SPLIT_ELSEWHERE | HELD:
        assert result.layers and result.differences["loss"] <= TOLERANCE
    elif result.layers is not None:
        assert result.exact, result


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_the_loss_of_a_network_is_a_function_of_its_outputs(name: str) -> None:
    """The catalogue's own outputs: the compiler is not asked."""
    judge = Judge(ENTRIES[name].build())
    through, rest = judge.gradient_parts()
    np.testing.assert_allclose(through + rest, judge.gradient, atol=1e-12)
    assert np.abs(through).max() > 1e-3
    assert np.isfinite(judge.gauss_newton).all()
    assert judge.gauss_newton.any() == (name not in ("l1 loss", "quantile", "hinge"))


def small_network(rng: np.random.Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 3, 4)
    V, c = layer(rng, "2", 4, 2)
    z = pt.tanh(x @ W + b) @ V + c
    batch = [rng.normal(size=(5, 3)), rng.normal(size=(5, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])


def test_the_judge_equals_the_formulas_of_a_small_network(rng: np.random.Generator) -> None:
    network = small_network(rng)
    judge = Judge(network)
    x, y = network.batch
    W, b, V, c = (p.get_value() for p in network.parameters)
    h = x @ W + b
    a = np.tanh(h)
    assert judge.loss == pytest.approx(((a @ V + c - y) ** 2).mean())
    np.testing.assert_allclose(judge.hessian, np.eye(10) / 5, atol=1e-15)
    Q, G = judge.factors(x, h, W, b)
    ones = np.concatenate([x, np.ones((5, 1))], axis=1)
    slopes = [np.diag(1 - row**2) for row in a]
    np.testing.assert_allclose(Q, ones.T @ ones / 5)
    np.testing.assert_allclose(G, sum(D @ V @ V.T @ D for D in slopes) / 5)
    rows_of_c = np.tile(np.eye(2), (5, 1))
    np.testing.assert_allclose(judge.gauss_newton[-2:, -2:], rows_of_c.T @ rows_of_c / 5)


def test_the_judge_does_not_know_values_that_are_in_no_variable(rng: np.random.Generator) -> None:
    network = small_network(rng)
    judge = Judge(network)
    W, b, *_ = (p.get_value() for p in network.parameters)
    x = network.batch[0]
    with pytest.raises(NotLocated):
        judge.factors(x, x @ W + b + 1e-3, W, b)
    with pytest.raises(NotLocated):
        judge.factors(2 * x, x @ W + b, W, b)
    with pytest.raises(NotLocated):
        judge.split(rng.normal(size=(5, 2)))


def test_a_compiler_that_reads_another_loss_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = kfgn.trace_layers
    monkeypatch.setattr(kfgn, "trace_layers", lambda loss, params: trace(1.001 * loss, params))
    result = examine(Entry("further", "wrong", "", small_network))
    assert result.layers == 2 and not result.exact
    for quantity in ("loss", "G", "block"):
        assert result.differences[quantity] == pytest.approx(1e-3, rel=1e-6)
    assert result.differences["product"] > 1e-4
    assert result.differences["Q"] < TOLERANCE
    assert exact(result.as_dict()).startswith("**no**")


def test_a_process_that_ends_is_a_crash_of_its_network_alone() -> None:
    names = ["not in the catalogue", "bilinear"]
    entries = [ENTRIES.get(n, Entry("further", n, "", small_network)) for n in names]
    first, second = examined(entries, "", 300)
    assert read(first) == "**crash**"
    assert "ended with 1" in first["failures"]["process"]["message"]
    assert second["name"] == "bilinear" and exact(second) == "yes"


def test_the_published_table_is_that_of_the_published_rows() -> None:
    assert (FOLDER / "table.md").read_text("utf-8") == markdown(ROWS)
    assert len({row["name"] for row in ROWS}) == len(ROWS)
    assert set(ENTRIES) <= {row["name"] for row in ROWS}
    assert counts(ROWS)["read"] >= len(READ)


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"after": 0.5}, "yes"),
        ({"after": 1.5}, "**no**"),
        ({"skipped": 3, "method": "KFLR"}, "**skipped silently** by KFLR: 3 of 30"),
        ({"finite": False}, "**not finite**"),
    ],
)
def test_how_training_is_said(training: dict[str, object], said: str) -> None:
    full = {"method": "default", "before": 1.0, "after": 0.5, "updates": 30, "skipped": 0}
    full |= {"warned": False, "finite": True} | training
    assert trained({"failures": {}, "training": full}) == said
