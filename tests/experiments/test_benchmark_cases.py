import inspect

import numpy as np
import pytest

import kfgn_graph as kfgn
from experiments.benchmarks.__main__ import BACKENDS, FULL, METHODS, QUICK, chosen, wanted_cases
from experiments.benchmarks.cases import Case, all_cases
from experiments.benchmarks.flops import Work
from experiments.benchmarks.memory import kept
from experiments.benchmarks.nets import BATCHES, NETS, Net
from experiments.benchmarks.systems import FIRST, SYSTEMS
from experiments.benchmarks.traffic import total_bytes, update_traffic
from kfgn_graph.step import schedule

NET = Net("tiny", (3, 4, 2), "tanh", "squared", 5)


def test_the_first_updates_are_those_of_the_package() -> None:
    assert FIRST == schedule.FIRST


def test_everything_is_every_system_on_every_net() -> None:
    cases = wanted_cases(FULL, "both", calm=True)
    keys = [case.key for case in cases]
    assert len(set(keys)) == len(keys)
    assert {case.system for case in cases} == set(SYSTEMS)
    assert {case.net.name for case in cases} == set(NETS)
    ours = [c for c in cases if c.system == "kfgn_graph" and c.net.name == "regression"]
    assert len(ours) == len(BACKENDS) * 3 * 4 * 2  # methods, periods, adapting or not
    assert {c.refresh for c in cases if c.system == "kfac-jax"} == {1, 5}


def test_the_quick_choice_is_a_small_part_of_everything() -> None:
    quick = wanted_cases(QUICK, "both", calm=True)
    assert {case.key for case in quick} < {case.key for case in wanted_cases(FULL, "both", True)}
    assert len(quick) < 15


def test_a_name_that_is_not_offered_is_refused() -> None:
    with pytest.raises(Exception, match=r"no 'torch'; there are jax, numba, c"):
        chosen("jax,torch", BACKENDS, "--backends")
    assert chosen("kfra, adam", METHODS, "--methods") == ["kfra", "adam"]


def test_periods_are_those_of_what_is_due() -> None:
    defaults = inspect.signature(kfgn.compile_update).parameters
    factors = defaults["factors_every"].default
    seldom = Case(NET, "kfgn_graph", "jax", "kfra", 20, True)
    assert seldom.period == int(np.lcm(factors, 20))
    fresh = Case(NET, "kfgn_graph", "jax", "kfra", 1, True)
    assert (fresh.period, fresh.factors_every) == (kfgn.LevenbergMarquardt().every, 1)
    assert Case(NET, "kfgn_graph", "jax", "kfra", 1, False).period == 1
    assert Case(NET, "kfac-jax", "jax", "kfac", 1, True).period == 5
    assert Case(NET, "backpack", "torch", "kfra", 5).factors_every == 5


def test_what_cannot_be_done_says_why() -> None:
    wide = Net("wide", (3, 33), "tanh", "bernoulli", 5)
    assert "33 columns" in Case(wide, "kfgn_graph", "jax", "kflr").reason
    assert not Case(NET, "kfgn_graph", "jax", "kflr").reason
    assert "mean squared error" in Case(wide, "backpack", "torch", "kfra").note
    assert not Case(wide, "curvlinops", "torch", "kfac").note


def test_a_peer_is_measured_whatever_backends_of_ours_are() -> None:
    cases = all_cases([NET], ["backpack", "kfgn_graph"], ["c"], ["kfra"], [1], [True])
    assert [(c.system, c.backend) for c in cases] == [("backpack", "torch"), ("kfgn_graph", "c")]


@pytest.mark.parametrize("name", NETS)
def test_the_data_fit_the_network(name: str) -> None:
    net = Net(name, (6, 4, 6), NETS[name].activation, NETS[name].loss, 3)
    x, y = net.data()
    assert x.shape == (3 * BATCHES, 6)
    assert x.dtype == np.float32
    assert y.shape == ((3 * BATCHES,) if net.loss == "softmax" else (3 * BATCHES, 6))
    inputs = net.network().inputs
    assert len(inputs) == (1 if net.reconstructs else 2)
    assert inputs[-1].dtype == y.dtype


def test_bytes_of_a_small_net_counted_by_hand() -> None:
    # 4*4 + 5*2 = 26 parameters; 9 units; 5 examples
    adam = {part.name: part.count for part in update_traffic(NET.sizes, 5, Work("adam"))}
    assert adam == {"forward and backward": 4 * (3 * 26 + 4 * 5 * 9), "rule": 4 * 7 * 26}
    kfra = {part.name: part.count for part in update_traffic(NET.sizes, 5, Work("kfra", 2, 4))}
    factors = 4 * 4 + 4 * 4 + 5 * 5 + 2 * 2
    read = 5 * (3 + 4) + 5 * (4 + 2)
    assert kfra["factors"] == 4 * (2 * factors + read) / 2
    assert kfra["inverses"] == 4 * 2 * factors / 4
    assert kfra["preconditioning"] == 4 * (factors + 2 * 26)
    adapting = update_traffic(NET.sizes, 5, Work("kfra", adaptive=True))
    assert total_bytes(adapting) > total_bytes(update_traffic(NET.sizes, 5, Work("kfra")))


def test_what_is_kept_by_a_small_net_counted_by_hand() -> None:
    adam = {part.name: part.count for part in kept(NET.sizes, 5, Work("adam"))}
    assert adam == {"parameters": 4 * 3 * 26, "activations": 4 * 5 * 6}
    kflr = {part.name: part.count for part in kept(NET.sizes, 5, Work("kflr"))}
    assert kflr["factors"] == kflr["inverses"] == 4 * 61
    assert kflr["columns"] == 4 * 2 * 5 * 4
