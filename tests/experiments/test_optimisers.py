import numpy as np
import pytest

from experiments.networks import regressor
from experiments.optimisers import (
    OPTIMISERS,
    FirstOrder,
    GaussNewton,
    optimiser,
    paper_grid,
)
from experiments.training import parameter_values

# JAX checks shapes while it traces; PyTensor remarks that its own check is left out.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping Assert:UserWarning")

ROWS = np.eye(2, dtype=np.float32)


def trajectory(method: FirstOrder, updates: int) -> list[float]:
    """The first weight's way on a quadratic whose gradient is that of a linear unit."""
    network = regressor((2, 1), seed=1)
    step = method.compile(network, "jax")
    targets = np.zeros((2, 1), np.float32)
    found = [float(parameter_values(network)[0][0, 0])]
    for _ in range(updates):
        step(ROWS, targets)
        found.append(float(parameter_values(network)[0][0, 0]))
    return found


def by_hand(rates: list[float], momentum: float, nesterov: bool) -> list[float]:
    """The same in NumPy, from the same weights."""
    weight, bias = (
        value.astype(np.float64) for value in parameter_values(regressor((2, 1), seed=1))
    )
    velocities = [np.zeros_like(weight), np.zeros_like(bias)]
    found = [float(weight[0, 0])]
    for rate in rates:
        output = ROWS @ weight + bias
        gradients = [ROWS.T @ output / 2, output.mean(axis=0)]
        for index, (value, gradient) in enumerate(zip((weight, bias), gradients, strict=True)):
            velocities[index] = momentum * velocities[index] - gradient
            ahead = momentum * velocities[index] - gradient if nesterov else velocities[index]
            value += rate * ahead
        found.append(float(weight[0, 0]))
    return found


@pytest.mark.parametrize(
    ("rule", "momentum", "nesterov"),
    [("sgd", 0.0, False), ("momentum", 0.9, False), ("nesterov", 0.9, True)],
)
def test_descent_follows_its_rule_at_halved_rates(
    rule: str, momentum: float, nesterov: bool
) -> None:
    method = FirstOrder(rule, 0.1, period=0.25, updates=8)  # type: ignore[arg-type]
    rates = [0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125]
    assert trajectory(method, 8) == pytest.approx(by_hand(rates, momentum, nesterov), rel=1e-5)


def test_adam_s_first_steps_are_its_rate_and_halve() -> None:
    found = np.diff(trajectory(FirstOrder("adam", 1e-3, period=0.5, updates=4), 4))
    np.testing.assert_allclose(np.abs(found), [1e-3, 1e-3, 5e-4, 5e-4], rtol=0.02)


def test_the_paper_s_grid_is_eight_rates_by_five_periods() -> None:
    grid = list(paper_grid("nesterov", updates=400))
    assert len(grid) == len(set(grid)) == 40
    assert {method.rate for method in grid} == {2.0**-power for power in range(6, 14)}
    assert {method.halve_every for method in grid} == {None, 200, 100, 50, 25}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rule": "lbfgs"}, "sgd, momentum, nesterov, adam"),
        ({"rate": 0.0}, "positive"),
        ({"period": 1.5}, "period"),
        ({"period": 0.5}, "number of updates"),
    ],
)
def test_settings_that_mean_nothing_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FirstOrder(**arguments)  # type: ignore[arg-type]


def test_methods_are_swapped_by_name() -> None:
    names = [optimiser(name).name for name in OPTIMISERS]
    assert names == [
        "KFRA",
        "KFLR",
        "KFAC",
        "Hessian-free",
        "SGD",
        "Momentum",
        "Nesterov",
        "Adam",
    ]
    with pytest.raises(ValueError, match="kfra, kflr, kfac, hessianfree, sgd"):
        optimiser("newton")


def test_only_what_was_chosen_is_told() -> None:
    assert GaussNewton().settings == "defaults"
    assert GaussNewton(damping=0.5, refresh_every=5).settings == "λ 0.5, inverses every 5"
    assert GaussNewton(average=True).settings == "averaged"
    halved = FirstOrder("adam", 2**-10, period=0.0625, updates=100)
    assert halved.settings == "rate 0.000977, halved every 6.25 %"
