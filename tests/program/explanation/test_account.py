from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import kfgn_graph as kfgn
from experiments.benchmarks.flops import adaptive_terms, kfra_terms, model_terms
from kfgn_graph import equations
from kfgn_graph.program.building import build, compile_step
from kfgn_graph.program.explanation import formulas, timing
from kfgn_graph.program.explanation.account import Account, account, recognised
from kfgn_graph.program.explanation.layers import LayerShape
from kfgn_graph.program.explanation.operations import Counter
from kfgn_graph.program.explanation.rates import Rates, measure_rates
from kfgn_graph.program.rules import backend_mode
from kfgn_graph.program.spec import GraphSpec, load_spec, parse_spec
from kfgn_graph.step import schedule
from tests.program.explanation.graphs import write_spec

SIZES = (64, 30, 20, 10, 10)


def spec(more: str = "", method: str = '"kfra"', batch: int = 600) -> GraphSpec:
    text = f'loss = "softmax"\nbatch = {batch}\nmethod = {method}\n{more}\n'
    tables = '[network]\nhidden = [30, 20, 10]\n[data]\nname = "digits"\n[budget]\nupdates = 1\n'
    return parse_spec(text + tables, "toml", "spec")


def chain(sizes: tuple[int, ...] = SIZES) -> list[LayerShape]:
    last = len(sizes) - 2
    return [
        LayerShape(f"W{i}", f"W{i}", f"b{i}", sizes[i], sizes[i + 1], 1, 1, i == 0, i == last)
        for i in range(last + 1)
    ]


def amounts(counted: GraphSpec) -> dict[str, float]:
    return {part.name: part.amount for part in Counter(counted, chain(), SIZES[-1]).parts()}


def accounted(path: str | Path) -> Account:
    task = build(*load_spec(str(path)))
    step = compile_step(task)
    return account(task, step, recognised(task, step)[0])


def test_the_default_update_has_the_operations_that_the_benchmark_counts():
    parts = amounts(spec())
    terms = {term.name: term.full for term in adaptive_terms(SIZES, 600, 5, 10)}
    assert list(parts.values()) == pytest.approx(list(terms.values()))


@pytest.mark.parametrize("batch", [400, 600])
def test_fresh_systems_are_solved_and_not_inverted(batch):
    fresh = 'schedule = {factors_every = 1, refresh_every = 1}\nbackend = "jax"'
    parts = amounts(spec(fresh, batch=batch))
    terms = [*kfra_terms(SIZES, batch), *model_terms(SIZES, batch)]
    assert list(parts.values()) == pytest.approx([term.full for term in terms])


@pytest.mark.parametrize("backend", ["numba", "c"])
def test_they_are_inverted_where_there_is_a_routine_for_it(backend):
    fresh = "schedule = {factors_every = 1, refresh_every = 1}"
    solved = amounts(spec(f'{fresh}\nbackend = "jax"'))
    inverted = amounts(spec(f'{fresh}\nbackend = "{backend}"'))
    assert inverted["inverses"] == pytest.approx(3 * solved["Cholesky factors"])
    assert inverted["preconditioning"] == solved["solves"]


def test_constant_step_and_damping_need_no_model():
    more = 'step = {length = 0.1}\ndamping = {rule = "constant"}'
    assert set(amounts(spec(more))) & {"quadratic model", "loss at the new parameters"} == set()


def test_kflr_carries_a_column_for_each_output_and_kfac_one_for_each_sample():
    kflr, kfac = amounts(spec(method='"kflr"')), amounts(spec(method='"kfac"'))
    for part in ("columns back", "factors G"):
        assert kflr[part] == pytest.approx(SIZES[-1] * kfac[part])
    two = amounts(spec(method='{name = "kfac", samples = 2}'))
    assert two["factors G"] == 2 * kfac["factors G"]


def test_a_rule_of_first_order_needs_gradients_alone():
    assert list(amounts(spec(method='"adam"'))) == ["forward and backward"]


def test_hessian_free_counts_the_iterations_that_there_may_be():
    (name,) = (part for part in amounts(spec(method='"hessianfree"')) if "conjugate" in part)
    assert f"{kfgn.HessianFree().iterations} iterations at most" in name


def test_the_search_for_gamma_is_counted_three_times_in_its_period():
    found = amounts(spec('damping = {gamma = "search", gamma_every = 30}'))
    cubes = sum((a + 1) ** 3 + b**3 for a, b in pairwise(SIZES))
    assert found["search: inverses"] == pytest.approx(3 * cubes / 3 / 30)


@pytest.mark.parametrize("method", ["kfra", "kflr", "kfac", "hessianfree", "adam"])
def test_what_is_kept_is_what_the_state_holds(method, tmp_path):
    spec = write_spec(tmp_path, "library_model", f'method = "{method}"\nbackend = "numba"')
    task = build(*load_spec(str(spec)))
    step = compile_step(task)
    made, state = account(task, step, recognised(task, step)[0]), step.state()
    assert made.kept_in_all == sum(v.nbytes for v in state.values())
    single = sum(v.nbytes for name, v in state.items() if v.ndim == 0 or name.startswith("rule/"))
    assert sum(made.kept) == made.kept_in_all - single


def test_the_factors_have_the_sizes_that_the_update_keeps(tmp_path):
    path = str(write_spec(tmp_path, "shared_positions"))
    task = build(*load_spec(path))
    step = compile_step(task)
    made = account(task, step, recognised(task, step)[0])
    state = step.state()
    for layer in made.layers:
        assert state[f"factors/{layer.name}/Q"].shape == (layer.q, layer.q)
        assert state[f"factors/{layer.name}/G"].shape == (layer.g, layer.g)


def test_a_weight_at_several_places_counts_at_each(tmp_path):
    made = accounted(write_spec(tmp_path, "shared_positions"))
    assert [layer.positions for layer in made.layers] == [5, 1]
    assert made.layers[0].products == 2 * 5 * 4 * 6


def test_branches_are_seen(tmp_path):
    made = accounted(write_spec(tmp_path, "residual"))
    assert [layer.first for layer in made.layers] == [True, False, False, False, False]
    assert [layer.last for layer in made.layers] == [False, False, False, False, True]


def test_a_model_of_pytensor_ml_is_recognised(tmp_path):
    made = accounted(write_spec(tmp_path, "library_model", 'method = "kflr"'))
    assert [(layer.inputs, layer.outputs) for layer in made.layers] == [(4, 6), (6, 3)]
    assert made.loss.startswith("softmax cross-entropy")
    assert [formulas.used_for_outputs("kflr", layer) for layer in made.layers] == [
        "(24), (25)",
        "(23), (25)",
    ]


def test_an_update_takes_the_sum_of_its_parts():
    parts = Counter(spec(), chain(), 10).parts()
    made = Account("kfra", "jax", "float32", "", 600, chain(), [0] * 4, 0, {}, parts)
    rates = Rates(product=2.0, inversion=1.0, memory=1.0)
    inversions = sum(part.amount for part in parts if part.kind == "inversion")
    assert made.predicted(rates) == pytest.approx((made.operations + inversions) / 2)
    assert sum(made.operations_of(i) for i in range(4)) == pytest.approx(made.operations)


def test_rates_are_of_a_machine():
    rates = measure_rates(spec(), backend_mode("jax"), "float32")
    assert 1e8 < rates.product < 1e15
    assert 1e6 < rates.inversion < 1e15
    assert 1e8 < rates.memory < 1e13


def test_every_equation_is_one_of_the_package():
    for equation in formulas.EQUATIONS.values():
        doc = getattr(equations, equation.function).__doc__
        for number in equation.numbers.replace("-", ", ").split(", "):
            assert number in doc.replace("-", " ").replace("Eq. ", "")
    for names in formulas.OF_METHOD.values():
        assert set(names) <= set(formulas.EQUATIONS)


def test_the_period_is_that_of_all_that_is_due():
    assert timing.FIRST == schedule.FIRST
    assert timing.period_of(spec()) == 10
    assert timing.period_of(spec("schedule = {factors_every = 4, refresh_every = 6}")) == 12
    assert timing.period_of(spec("schedule = {factors_every = 17, refresh_every = 19}")) == 100
    assert timing.period_of(spec(method='"hessianfree"')) == 1


def test_whole_periods_are_timed_after_the_first_updates(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "UNIT_SIZE", 20)
    path = str(
        write_spec(tmp_path, "residual", "schedule = {factors_every = 2, refresh_every = 4}")
    )
    task = build(*load_spec(path))

    class Step:
        calls = 0

        def __call__(self, *batch: np.ndarray) -> float:
            assert [len(a) for a in batch] == [10, 10]
            self.calls += 1
            return 0.0

    step = Step()
    taken = timing.time_updates(task, step, repeats=5)
    assert taken.updates == 12
    assert step.calls == schedule.FIRST + 12
    assert taken.quartiles[0] <= taken.quartiles[1]
