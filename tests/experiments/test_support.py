"""Networks as their authors write them: read with the exact curvature, or refused by an error."""

from __future__ import annotations

import json

import numpy as np
import pytensor.tensor as pt
import pytest

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
#: Of those, one of each kind that takes less than a second.
FAST = frozenset()


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
    if result.layers is not None:
        assert result.exact, result


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


def test_a_wrong_loss_is_not_exact(rng: np.random.Generator, monkeypatch) -> None:
    """A compiler that reads another network than the user's is found out."""
    other = small_network(rng)

    def traced(loss, params, **options):
        return trace(other.loss, list(other.parameters))

    import kfgn_graph as kfgn

    trace = kfgn.trace_layers
    monkeypatch.setattr("kfgn_graph.trace_layers", traced)
    result = examine(Entry("further", "wrong", "", small_network))
    assert not result.exact
    assert max(result.differences.values()) > TOLERANCE
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
