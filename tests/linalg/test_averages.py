"""A factor's moving average: which estimates count, and in whose memory it is."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from kfgn_graph.backends import resolve_backend
from kfgn_graph.linalg.averages import FactorAverage
from kfgn_graph.linalg.conditional import choose
from tests.harness import MODES
from tests.stepping import on_backends

WEIGHT, SIZE = 0.75, 3


def averaging(backend: str, seldom: bool, read: bool = False) -> tuple[Any, list[Any]]:
    """Compile the averages of two factors, and return them with the variables that keep them.

    They are due always or seldom. Where the old ones are read by somebody else as well, that is
    their sum, after the averages.
    """
    kept = [pytensor.shared(np.eye(SIZE), shape=(SIZE, SIZE)) for _ in range(2)]
    fresh = [pt.matrix(name, shape=(SIZE, SIZE)) for name in "QG"]
    due, sound = pt.scalar("due", dtype="bool"), pt.constant(np.asarray(True))
    averages = []
    for old, estimate in zip(kept, fresh, strict=True):
        average, sound = FactorAverage()(old, estimate, pt.constant(WEIGHT), sound)
        averages.append(average)
    if seldom:
        *averages, sound = choose(due, [*averages, sound], [*kept, pt.eq(due, due)])
    outputs = [sound, *[old.sum() + new.sum() for old, new in zip(kept, averages, strict=True)]]
    function = pytensor.function(
        [due, *fresh],
        outputs if read else [sound],
        updates=dict(zip(kept, averages, strict=True)),
        mode=resolve_backend(backend, None).mode(),
        on_unused_input="ignore",
    )
    return function, kept


compiled = cache(averaging)


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize("seldom", [False, True])
@pytest.mark.parametrize("read", [False, True])
def test_an_estimate_counts_if_it_and_all_before_it_are_finite(
    read: bool, seldom: bool, backend: str, rng: np.random.Generator
) -> None:
    function, kept = compiled(backend, seldom, read)
    Q, G = (X.T @ X for X in rng.standard_normal((2, 5, SIZE)))
    broken = G.copy()
    broken[1] = broken[:, 1] = np.nan
    for due, (first, second), counts in (
        (True, (Q, G), (True, True)),
        (True, (Q, broken), (True, False)),
        (True, (broken, G), (False, False)),
        (False, (Q, G), (not seldom, not seldom)),
        (True, (Q.copy(order="F"), G), (True, True)),
    ):
        before = [np.array(v.get_value()) for v in kept]
        sound, *sums = function(due, first, second)
        assert bool(sound) == (all(counts) or not due)
        for k, (v, old, fresh) in enumerate(zip(kept, before, (first, second), strict=True)):
            want = WEIGHT * old + (1 - WEIGHT) * fresh if counts[k] else old
            np.testing.assert_allclose(v.get_value(), want, rtol=1e-12)
            if read:
                np.testing.assert_allclose(sums[k], old.sum() + want.sum(), rtol=1e-12)


@pytest.mark.parametrize("backend", on_backends([b for b in MODES if b != "jax"]))
@pytest.mark.parametrize("seldom", [False, True])
def test_an_average_stays_where_it_is(seldom: bool, backend: str) -> None:
    function, kept = compiled(backend, seldom, False)
    before = [v.get_value(borrow=True) for v in kept]
    for due in (True, False, True):
        function(due, 2 * np.eye(SIZE), 3 * np.eye(SIZE))
    for old, v in zip(before, kept, strict=True):
        assert np.shares_memory(old, v.get_value(borrow=True))


@pytest.mark.parametrize("backend", on_backends([b for b in MODES if b != "jax"]))
def test_an_average_set_in_columns_is_averaged(backend: str) -> None:
    function, kept = averaging(backend, seldom=False)
    old = np.arange(9.0).reshape(SIZE, SIZE)
    kept[0].set_value(np.asfortranarray(old), borrow=True)
    function(True, np.eye(SIZE), np.eye(SIZE))
    want = WEIGHT * old + (1 - WEIGHT) * np.eye(SIZE)
    np.testing.assert_allclose(kept[0].get_value(), want, rtol=1e-12)
