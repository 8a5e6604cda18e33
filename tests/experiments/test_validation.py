from pathlib import Path

import numpy as np
import pytest

from experiments.environments import find_interpreter
from experiments.validation.backpack_factors import METHODS, compare, our_factors, summary
from experiments.validation.cases import all_cases, write_cases


def as_backpack_gives_them(case: object, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Our own factors, split into blocks of weight and bias."""
    given = {}
    for method in METHODS:
        for index, (q, g) in enumerate(our_factors(case, method)):  # type: ignore[arg-type]
            stem = f"{case.name}/{method}/{index}"  # type: ignore[attr-defined]
            given[f"{stem}/weight_Q"] = q[:-1, :-1]
            given[f"{stem}/weight_G"] = scale * g
            given[f"{stem}/bias_G"] = scale * g
    return given


def test_the_comparison_sees_agreement_and_a_wrong_constant() -> None:
    case = next(all_cases())
    same = list(compare(case, as_backpack_gives_them(case)))
    assert len(same) == 2 * 3 * len(case.weights)
    assert max(d.difference for d in same) == 0.0
    halved = list(compare(case, as_backpack_gives_them(case, scale=0.5)))
    assert max(d.difference for d in halved) == pytest.approx(1.0)
    row = summary(halved)[0]
    assert (row["ratio_low"], row["ratio_high"]) == pytest.approx((2.0, 2.0))


def test_the_methods_differ_below_the_last_layer() -> None:
    case = next(case for case in all_cases() if case.loss == "softmax")
    kfra, kflr = (our_factors(case, method) for method in METHODS)
    np.testing.assert_allclose(kfra[-1][1], kflr[-1][1], rtol=1e-12)
    assert np.abs(kfra[0][1] - kflr[0][1]).max() > 1e-6 * np.abs(kflr[0][1]).max()


def test_cases_cover_losses_and_activations_and_are_written_whole(tmp_path: Path) -> None:
    cases = list(all_cases())
    combinations = {(case.loss, case.activation) for case in cases}
    assert len(combinations) == 6
    write_cases(cases, tmp_path / "cases.npz")
    with np.load(tmp_path / "cases.npz") as arrays:
        case = cases[-1]
        np.testing.assert_array_equal(arrays[f"{case.name}/W1"], case.weights[1])
        np.testing.assert_array_equal(arrays[f"{case.name}/y"], case.y)


def test_an_interpreter_that_does_not_run_is_told() -> None:
    with pytest.raises(RuntimeError, match="no-such-python"):
        find_interpreter("no-such-python")
