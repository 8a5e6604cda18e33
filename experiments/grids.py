"""The paper's grid of first-order methods, whole or thinned by a budget, and its stages."""

from collections.abc import Iterator, Sequence

from experiments.curves import RunCurve, ranked
from experiments.optimisers import GRID_PERIODS, GRID_RATES, FirstOrder, Rule

LEAST_RATES, LEAST_PERIODS, LEAST_REFINED = 4, 1, 2
DEFAULT_ADAM = FirstOrder("adam", 1e-3)


def spread(values: Sequence[float], count: int) -> tuple[float, ...]:
    """Return ``count`` of the values, evenly spaced from the first to the last."""
    if count == 1:
        return (values[0],)
    last = len(values) - 1
    return tuple(values[round(i * last / (count - 1))] for i in range(count))


def constant_rates(rule: Rule, budget: float, updates: int) -> Iterator[FirstOrder]:
    """Yield the first stage of a grid.

    Adam has all eight rates, constant. Another rule has a share ``budget`` of the eight rates, at
    least four, each with a share ``budget`` of the five halving periods, at least one. A budget
    of 1 gives the whole grid of every rule, once the second stage of Adam is added.
    """
    share = min(budget, 1.0)
    adam = rule == "adam"
    rates = len(GRID_RATES) if adam else max(LEAST_RATES, round(share * len(GRID_RATES)))
    periods = 1 if adam else max(LEAST_PERIODS, round(share * len(GRID_PERIODS)))
    for rate in spread(GRID_RATES, rates):
        for period in spread(GRID_PERIODS, periods):
            yield FirstOrder(rule, rate, period, updates)


def halved_rates(rates: Sequence[float], budget: float, updates: int) -> Iterator[FirstOrder]:
    """Yield Adam's second stage: its best rates, with each halving period below 100 %.

    Parameters
    ----------
    rates : sequence of float
        The rates of the first stage, the best first.
    budget : float
        The share of them that is taken, at least two rates.
    updates : int
        Number of updates of a run.
    """
    for rate in rates[: max(LEAST_REFINED, round(min(budget, 1.0) * len(GRID_RATES)))]:
        for period in GRID_PERIODS[1:]:
            yield FirstOrder("adam", rate, period, updates)


def name_of(method: FirstOrder) -> str:
    """Return the name of a setting, for a file and a table."""
    halved = "" if method.period == 1 else f"-halved-{100 * method.period:g}"
    return f"{method.rule}-{method.rate:.4g}{halved}"


def ranked_rates(curves: Sequence[RunCurve]) -> list[float]:
    """Return the grid's constant rates of Adam, by the final loss of their runs."""
    names = {name_of(FirstOrder("adam", rate)): rate for rate in GRID_RATES}
    return [names[curve.setting] for curve in ranked(curves) if curve.setting in names]
