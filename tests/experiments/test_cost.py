"""Costs that are predicted are those of the recursions, counted product by product."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import kfgn_graph as kfgn
from experiments.benchmarks.flops import factor_terms, totals, update_terms
from experiments.cost import study
from experiments.cost.__main__ import main
from experiments.cost.pictures import draw_cost
from experiments.cost.summary import (
    Row,
    column_copies,
    crossing,
    crossings,
    markdown,
    ratio_table,
    read_rows,
)
from experiments.cost.sweeps import SWEEPS, Point, perceptron, points_of
from experiments.cost.updates import (
    METHODS,
    Candidate,
    candidates,
    crossover,
    own_flops,
    predicted_bytes,
    spec_of,
)
from experiments.small_networks import (
    compile_in_python,
    draw_batch,
    draw_parameters,
    small_network,
)

SIZES, BATCH = (3, 5, 4, 2), 6
Array = np.ndarray


class Counter:
    """Products of matrices by three loops, which count their multiplications."""

    def __init__(self) -> None:
        self.multiplications = 0

    def product(self, left: Array, right: Array) -> Array:
        result = np.zeros((left.shape[0], right.shape[1]))
        for i in range(left.shape[0]):
            for j in range(right.shape[1]):
                for k in range(left.shape[1]):
                    result[i, j] += left[i, k] * right[k, j]
                    self.multiplications += 1
        return result


class Network:
    """A forward pass of a tanh network with squared error, and what curvature needs of it."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.parameters = draw_parameters(rng, SIZES)
        self.weights = self.parameters[0::2]
        self.x, self.y = draw_batch(rng, "squared", BATCH, SIZES[0], SIZES[-1])
        self.inputs, self.slopes = [self.x], []
        for weight, bias in zip(self.weights[:-1], self.parameters[1:-1:2], strict=True):
            self.inputs.append(np.tanh(self.inputs[-1] @ weight + bias))
            self.slopes.append(1 - self.inputs[-1] ** 2)

    def of_the_package(self, method: object) -> list[Array]:
        """Return G of every layer, in forward order."""
        network = small_network("tanh", "squared", len(SIZES) - 1)
        network.assign(self.parameters)
        graph = kfgn.trace_layers(network.value, list(network.parameters))
        factors = kfgn.curvature_factors(graph, method)  # type: ignore[arg-type]
        outputs = [factors[layer].G for layer in graph.layers]
        return compile_in_python([network.x, network.y], outputs)(self.x, self.y)


def kfra_by_loops(network: Network, counter: Counter) -> list[Array]:
    """Return G of every layer by Eq. (26)."""
    found = [np.eye(SIZES[-1])]
    upper = zip(network.weights[:0:-1], network.slopes[::-1], strict=True)
    for weight, slope in upper:
        congruent = counter.product(counter.product(weight, found[0]), weight.T)
        found.insert(0, congruent * counter.product(slope.T, slope) / BATCH)
    return found


def kflr_by_loops(network: Network, counter: Counter) -> tuple[list[Array], int]:
    """Return G of every layer by back-propagated columns, and the most numbers of a layer."""
    columns, held = [np.eye(SIZES[-1])] * BATCH, 0
    found: list[Array] = []
    layers = list(zip([None, *network.weights[1:]], [None, *network.slopes], strict=True))
    for weight, slope in layers[::-1]:
        found.insert(0, sum(counter.product(c, c.T) for c in columns) / BATCH)
        held = max(held, sum(c.size for c in columns))
        if weight is not None:
            columns = [
                slope[n][:, None] * counter.product(weight, c) for n, c in enumerate(columns)
            ]
    return found, held


def test_kfra_s_count_is_the_recursion_s_number_of_multiplications() -> None:
    network, counter = Network(), Counter()
    for found, expected in zip(
        kfra_by_loops(network, counter), network.of_the_package(kfgn.KFRA()), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert own_flops("kfra", SIZES, BATCH) == 2 * counter.multiplications


def test_kflr_s_count_and_memory_are_those_of_the_columns_and_kfac_s_of_one() -> None:
    network, counter = Network(), Counter()
    by_loops, held = kflr_by_loops(network, counter)
    for found, expected in zip(by_loops, network.of_the_package(kfgn.KFLR()), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert own_flops("kflr", SIZES, BATCH) == 2 * counter.multiplications
    assert own_flops("kflr", SIZES, BATCH) == SIZES[-1] * own_flops("kfac", SIZES, BATCH)
    net = replace(perceptron(1, 1, BATCH), sizes=SIZES)
    parts = predicted_bytes(net, Candidate("kflr", "fresh"))
    assert parts["columns"] == 4 * held == 4 * SIZES[-1] * BATCH * max(SIZES[1:])
    factors = [(d_in + 1) ** 2 + d_out**2 for d_in, d_out in pairwise(SIZES)]
    assert parts["factors"] == parts["inverses"] == 4 * sum(factors)


def test_q_s_count_is_that_of_the_products_of_the_inputs() -> None:
    network, counter = Network(), Counter()
    for inputs in network.inputs:
        extended = np.hstack([inputs, np.ones((BATCH, 1))])
        counter.product(extended.T, extended)
    assert factor_terms("kfra", SIZES, BATCH)[0].full == 2 * counter.multiplications


@pytest.mark.parametrize("batch", [10, 10_000])
def test_kflr_costs_more_than_kfra_above_the_crossover(batch: int) -> None:
    """With K columns KFLR's cost is K times KFAC's; the crossover is about 0.8 d / N + 0.6."""
    sizes = (500, 500, 500, 500, 1)
    columns, kfra = crossover(sizes, batch), own_flops("kfra", sizes, batch)
    assert columns * own_flops("kfac", sizes, batch) == pytest.approx(kfra)
    assert columns == pytest.approx(0.8 * 500 / batch + 0.6, rel=0.01)


def test_kfra_and_kfac_cost_the_same_where_the_batch_is_d_in_plus_d_out() -> None:
    costs = [[own_flops(m, (400,) * 40, n) for m in ("kfra", "kfac")] for n in (80, 800, 8000)]
    small, equal, large = (kfra / kfac for kfra, kfac in costs)
    assert equal == pytest.approx(1, rel=0.03)
    assert small > 5 and large < 0.6


@pytest.mark.parametrize("method", METHODS)
def test_the_package_predicts_the_counted_operations(method: str, tmp_path: Path) -> None:
    net = replace(perceptron(1, 1, BATCH), sizes=SIZES)
    x, y = net.data()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    rates = {"product": 1e9, "inversion": 1e8, "memory": 1e9}
    for candidate in (c for c in candidates(("fresh", "defaults")) if c.method == method):
        spec = spec_of(net, candidate, "data.npz")
        found = kfgn.predict_update(spec, tmp_path, rates=rates)
        counted = update_terms(SIZES, BATCH, candidate.case(net).work)
        assert found["operations"] == pytest.approx(totals(counted)[0])
        seconds = [part["amount"] / rates[part["kind"]] for part in found["parts"]]
        assert found["predicted_seconds"] == pytest.approx(sum(seconds))


# --- the study


def row(sweep: str, value: int, method: str, schedule: str, **changes: object) -> Row:
    net = SWEEPS[sweep].net(value)
    times = {"gemms": 1.0, "low": 0.9, "high": 1.2, "milliseconds": 70.0}
    memory = {"memory": 9.0, "workspace": 5.0, "kept": 8.0}
    predicted = {"formula": 0.8, "package": 0.9}
    given = {**times, **memory, **predicted, **changes}
    return Row(sweep, value, method, schedule, net.sizes, net.batch, **given)  # type: ignore[arg-type]


def rows(cost: Callable[[str, int], float]) -> list[Row]:
    return [
        row(p.sweep, p.value, c.method, c.schedule, gemms=cost(c.method, p.value))
        for p in points_of(list(SWEEPS))
        for c in candidates(p.schedules)
    ]


def test_a_crossing_is_interpolated_between_the_sizes_around_it() -> None:
    assert crossing([1, 2, 4], [1.0, 2.0, 4.0], [3.0, 3.0, 3.0]) == pytest.approx(3)
    assert crossing([1, 2, 4], [4.0, 5.0, 6.0], [3.0, 3.0, 3.0]) == 1
    assert crossing([1, 2, 4], [1.0, 2.0, 2.5], [3.0, 3.0, 3.0]) is None
    # A curve that falls below again crosses where it stays above.
    assert crossing([1, 2, 3], [4.0, 2.0, 4.0], [3.0, 3.0, 3.0]) == pytest.approx(2.5)


def test_tables_and_picture(tmp_path: Path) -> None:
    found = rows(lambda method, value: float(value) if method == "kflr" else 5.0)
    assert "measured 5," in crossings(found)[0]
    assert "| width | 64 | 7.8 | fresh | 1.00 | 1.00 | 1.00 |" in ratio_table(found)
    tables = markdown(found)
    assert "| 4 | 5.00 (0.80) | +0.0 (0.0) | +0.0 (0.0) | -1.00 (0.0) |" in tables
    of_one_sweep = [row for row in found if row.sweep == "K-small-batch"]
    assert draw_cost(of_one_sweep, tmp_path / "cost.png").stat().st_size > 20_000


@pytest.mark.slow
def test_a_point_is_measured_with_the_memory_that_its_arrays_take() -> None:
    point = Point("K", 3, replace(perceptron(40, 3, 200), name="tiny"), ("fresh",))
    updates = study.record_of(point, 2)["updates"]
    assert list(updates) == [candidate.name for candidate in candidates(("fresh",))]
    for name, update in updates.items():
        parts = predicted_bytes(point.net, Candidate(update["method"], update["schedule"]))
        outside = parts["parameters"] + parts["batch"]
        assert update["memory"]["total"] - update["memory"]["workspace"] >= outside, name
        assert update["memory"]["workspace"] >= parts.get("columns", 0), name
        assert len(update["seconds"]) == 2 and min(update["seconds"]) > 0


def test_the_copies_of_the_columns_are_counted_beyond_kfac_s_one() -> None:
    column = 4 * 1000 * 500 / 2**20
    found = [row("K", k, "kflr", "fresh", workspace=7 + 3 * (k - 1) * column) for k in (1, 16)]
    found += [row("K", k, "kfac", "fresh", workspace=7.0) for k in (1, 16)]
    assert column_copies(found, "K", "fresh") == pytest.approx({16: 3})


def test_an_interrupted_study_measures_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Point] = []

    def record_of(point: Point, rounds: int) -> study.Record:
        measured.append(point)
        settings, machine = study.settings_of(point, rounds), kfgn.machine_record()
        return {"sweep": point.sweep, "settings": settings, "machine": machine}

    monkeypatch.setattr(study, "record_of", record_of)
    points, console = list(points_of(["width", "K"], 2)), Console(quiet=True)
    first = study.measure_points(points[:3], 2, tmp_path, console)
    assert study.measure_points(points, 2, tmp_path, console)[:3] == first
    assert measured == points
    study.measure_points(points[:1], 3, tmp_path, console)  # with other settings
    assert measured == [*points, points[0]]


def test_stored_results_are_tabulated_again(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    run = CliRunner().invoke(app, ["--no-measure", "--output", str(tmp_path)])
    assert run.exit_code == 2 and "there is no" in run.output
    stored = Path(study.__file__).with_name("results.json")
    (tmp_path / "results.json").write_bytes(stored.read_bytes())
    run = CliRunner().invoke(app, ["--no-measure", "--output", str(tmp_path)])
    assert run.exit_code == 0, run.output
    table = (tmp_path / "table.md").read_text("utf-8")
    assert table == markdown(read_rows(stored))
    assert table == stored.with_name("table.md").read_text("utf-8")
