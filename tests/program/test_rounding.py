import numpy as np
import pytensor
import pytensor.tensor as pt

from kfgn_graph.program.rounding import rounded_as_written


def test_numba_s_fast_mathematics_is_off_while_a_run_is_trained():
    before = pytensor.config.numba__fastmath
    with rounded_as_written():
        assert pytensor.config.numba__fastmath is False
    assert pytensor.config.numba__fastmath is before


def test_sums_are_not_regrouped():
    x = pt.vector("x", dtype="float64")
    with rounded_as_written():
        function = pytensor.function([x], x.sum(), mode="NUMBA")
        values = np.array([1e16, 1.0, -1e16, 1.0] * 8)
        in_order = 0.0
        for value in values:
            in_order += value
        assert function(values) == in_order
