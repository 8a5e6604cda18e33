"""Figure 2 at a tiny size: grids, runs that are found again, averages, and what is drawn."""

import signal
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import kfgn_graph as kfgn
from experiments import studies, update_times
from experiments.curves import (
    RunCurve,
    complete_curves,
    mean_curve,
    ranked,
    read_curves,
    updates_to,
    write_curves,
)
from experiments.figure2.plan import PROBLEMS, Figure2Plan, Problem, lines
from experiments.grids import constant_rates, halved_rates, name_of, ranked_rates
from experiments.optimisers import GRID_PERIODS, GRID_RATES, FirstOrder, GaussNewton
from experiments.study_pictures import adam_lines
from experiments.study_report import write_report
from kfgn_graph.program.building import _curvature, _damping, _step
from kfgn_graph.program.cli.app import app

pytestmark = pytest.mark.filterwarnings("ignore:Skipping Assert:UserWarning")

TABLES = {
    "network": {"hidden": [6, 2, 6]},
    "loss": "bernoulli",
    "data": {"name": "digits", "examples": 60},
    "batch": 20,
    "backend": "c",
}
TINY = Problem("digits", TABLES, second_order=60, first_order=120, budget=0.1)


def plan(budget: float = 0.1, seeds: tuple[int, ...] = (0, 1)) -> Figure2Plan:
    return Figure2Plan(problem=TINY, budget=budget, seeds=seeds)


def curve(losses: list[float], setting: str = "adam-0.001", **other: object) -> RunCurve:
    values = np.array(losses)
    seconds = np.arange(1.0, len(losses) + 1)
    start, final = (0, 0.0, 9.0), (len(losses), float(len(losses)), losses[-1])
    kept = {"problem": "digits", "seed": 0, "rule": "adam", "floor": 0.0, **other}
    return RunCurve(
        setting=setting, seconds=seconds, losses=values, evaluations=(start, final), **kept
    )


@pytest.mark.parametrize(("budget", "adam", "other"), [(1.0, 40, 40), (0.1, 16, 4), (0.5, 24, 8)])
def test_the_budget_scales_the_grid_and_one_gives_the_whole(
    budget: float, adam: int, other: int
) -> None:
    first = list(constant_rates("adam", budget, 1000))
    both = {*first, *halved_rates(GRID_RATES, budget, 1000)}
    assert len(both) == adam
    assert {method.rate for method in first} == set(GRID_RATES)
    assert len(set(constant_rates("sgd", budget, 1000))) == other
    whole = {(rate, period) for rate in GRID_RATES for period in GRID_PERIODS}
    assert ({(m.rate, m.period) for m in both} == whole) == (budget == 1)


def test_the_budget_scales_the_updates() -> None:
    for budget in (1.0, 0.1):
        paper = Figure2Plan(problem=PROBLEMS["faces"], budget=budget)
        seconds = {each.updates for each in paper.second_order()}
        firsts = {each.updates for each in paper.first_stage()}
        assert (seconds, firsts) == ({budget * 20_000}, {budget * 160_000})


def test_the_second_stage_halves_the_two_best_rates() -> None:
    best = (2.0**-8, 2.0**-7)
    first = [
        curve([5.0, 1.0 if rate == best[0] else 2.0 if rate == best[1] else 3.0], name)
        for rate in GRID_RATES
        for name in [name_of(FirstOrder("adam", rate))]
    ]
    assert tuple(ranked_rates(first)[:2]) == best
    chosen = {each.optimiser.rate for each in plan().second_stage(first)}  # type: ignore[attr-defined]
    assert chosen == set(best)


def test_further_seeds_are_those_of_the_default_and_of_each_rule_s_best() -> None:
    grid = [*plan().first_stage(), *plan().others()]
    curves = [
        curve([9.0, float(k)], each.setting, rule=each.optimiser.rule)  # type: ignore[attr-defined]
        for k, each in enumerate(grid)
    ]
    found = list(plan().repeated(grid, curves))
    assert [each.seed for each in found] == [1] * 4
    assert [each.optimiser.rule for each in found] == ["adam", "nesterov", "momentum", "sgd"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("recipe", ["paper", "momentum", "defaults"])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_spec_sets_what_the_compiled_update_has(recipe: str, decay: float) -> None:
    method = GaussNewton("kfac", curvature_decay=decay, recipe=recipe)  # type: ignore[arg-type]
    spec = studies.task("digits", "x", method, 0, 5, TABLES).spec
    from_spec = kfgn.Settings(
        method=_curvature(spec),
        damping=_damping(spec.damping),
        step=_step(spec.step),
        l2=spec.l2,
        **spec.schedule.model_dump(),
    )
    assert from_spec == kfgn.Settings(method=kfgn.KFAC(), **method._chosen())
    assert (from_spec.reject_below is None) == (recipe != "defaults")


def test_an_interrupted_study_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    console = Console(quiet=True)
    tasks = list(plan().first_stage())[:2]
    seen: list[tuple[str, int]] = []
    train = studies._train

    def stopped(each: studies.Task, folder: Path, on_update: studies.OnUpdate) -> kfgn.RunRecord:
        def watch(update: int, seconds: float, loss: float) -> None:
            seen.append((each.setting, update))
            on_update(update, seconds, loss)
            if len(seen) == 17:
                signal.raise_signal(signal.SIGINT)

        return train(each, folder, watch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "_train", stopped)
        with pytest.raises(KeyboardInterrupt):
            studies.run_missing(tasks, tmp_path, console)
        assert len(complete_curves(tasks, tmp_path)) == 1
        studies.run_missing(tasks, tmp_path, console)
        studies.run_missing(tasks, tmp_path, console)
    assert seen == [(each.setting, k) for each in tasks for k in range(1, 13)]
    curves = complete_curves(tasks, tmp_path)
    assert [len(found.losses) for found in curves] == [12, 12]
    assert not list(tmp_path.glob("*/checkpoints/*"))
    picture = tmp_path / "losses.png"
    runs = [str(path) for path in sorted(tmp_path.glob("digits-adam-*"))]
    told = CliRunner().invoke(app, ["compare", *runs, "--picture", str(picture)])
    assert told.exit_code == 0, told.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert studies.find_run(next(plan(0.2).first_stage()), tmp_path) is None  # another spec


def test_averages_are_of_the_best_settings_that_did_not_diverge() -> None:
    grid = [curve([8.0, float(k)], f"adam-{k}") for k in range(1, 13)]
    lost = curve([8.0, np.nan], "adam-13")
    default = curve([8.0, 0.5], "adam-default")
    found = adam_lines([lost, *grid, default], "adam-default")
    assert [line.label for line in found] == [
        "Adam, best",
        "Adam, mean of best 10",
        "Adam, mean of best 12",
        "Adam, default",
    ]
    assert ranked([lost, *grid])[-1] is lost
    _, losses = mean_curve(found[1].curves)
    np.testing.assert_allclose(losses, [8.0, (8.0 + np.mean(np.arange(1, 11))) / 2])


def test_a_point_is_the_mean_of_the_ten_updates_before_it() -> None:
    values = np.random.default_rng(0).normal(size=37)
    wanted = [values[max(0, k - 9) : k + 1].mean() for k in range(37)]
    np.testing.assert_allclose(kfgn.sliding_mean(values), wanted)
    assert updates_to(curve([4.0, 2.0, 0.0]), 3.0) == 1
    assert updates_to(curve([4.0, 2.0]), 1.0) is None


def test_kept_curves_are_read_back_and_drawn(tmp_path: Path) -> None:
    curves = [
        curve([9.0, 5.0, 4.0], machine={"processor": "one"}),
        curve([9.0, np.nan], "adam-1"),
        curve([9.0, 2.0], "kfra-paper-batch", rule=""),
        curve([9.0, 1.0], "kfac-paper-average", rule=""),
    ]
    write_curves(curves, tmp_path)
    packed = (tmp_path / "curves.csv.gz").read_bytes()
    again = read_curves(tmp_path)
    for kept, read in zip(curves, again, strict=True):
        np.testing.assert_array_equal(kept.losses, read.losses)
        np.testing.assert_array_equal(kept.seconds, read.seconds)
        assert kept.final == read.final
        assert kept.machine == read.machine
    assert [line.label for line in lines(again, "paper")] == ["KFRA", "KFAC, moving average"]
    written = write_report(again, lines, tmp_path, Console(quiet=True))
    assert (tmp_path / "curves.csv.gz").read_bytes() == packed
    assert {path.name for path in written} >= {"table.md", "losses-paper.png"}
    assert "| kfac-paper-average | 1 | 2 | 1 |" in (tmp_path / "table.md").read_text()


def test_the_seconds_of_runs_are_those_of_the_measured_update() -> None:
    adam, kfra = curve([3.0, 2.0, 1.0]), curve([3.0, 1.0], "kfra-paper-batch", rule="")
    times = {"digits": {"adam": 0.5, "sgd": 9.0}}
    scaled, as_it_was = update_times.rescaled([adam, kfra], times)
    np.testing.assert_allclose(scaled.seconds, [0.5, 1.0, 1.5])
    assert scaled.evaluations[-1] == (3, 1.5, 1.0)
    assert as_it_was is kfra


@pytest.mark.slow
def test_every_kind_of_setting_is_timed_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update_times, "PART", 4)
    monkeypatch.setattr(update_times, "ROUNDS", 2)
    small = Figure2Plan(problem=TINY, budget=0.1, recipes=("defaults",), rules=("sgd",))
    times = update_times.measure(small.all_kinds(), Console(quiet=True))
    settings = [name for name, _ in small.settings("defaults")]
    assert list(times["digits"]) == [*settings, "adam", "sgd"]
    assert all(seconds > 0 for seconds in times["digits"].values())
    update_times.write_times(times, tmp_path)
    assert update_times.read_times(tmp_path) == times
