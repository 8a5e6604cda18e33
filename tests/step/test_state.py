"""What adaptive updates remember: saved, restored, and the averages of the iterates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kfgn_graph as kfgn
from tests.cases import Problem, build
from tests.harness import MODES
from tests.reference.training import REFRESHED_FIRST
from tests.stepping import (
    assert_identical,
    case_of,
    compile_case,
    on_backends,
    slow,
    state_of,
    values_of,
)

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize("inverse", ["cholesky", slow("newton-schulz"), slow("ekfac")])
def test_an_adaptive_update_resumes_bit_for_bit(
    inverse: str, backend: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    case = case_of("tanh", "bernoulli")
    batches = [case.batch(rng, 6) for _ in range(REFRESHED_FIRST + 10)]

    gamma = "tied" if inverse == "ekfac" else "search"  # EKFAC's blocks have none to search for

    def begun() -> tuple[Problem, kfgn.Update]:
        problem = build(case, case.values(rng))
        return problem, kfgn.compile_update(
            problem.loss,
            problem.params,
            problem.inputs,
            method=kfgn.KFLR(),
            damping=kfgn.LevenbergMarquardt(gamma=gamma, gamma_every=4),
            factors_every=2,
            refresh_every=5,
            inverse=inverse,
            average_iterates=True,
            backend=backend,
        )

    straight, update = begun()
    for batch in batches[: REFRESHED_FIRST + 3]:
        update(*batch)
    path = tmp_path / "state.safetensors"
    update.save(path)
    state = state_of(update)
    assert {"count", "failed", "damping"} <= set(state)
    assert ("gamma" in state) == (gamma == "search")
    kinds = {name.split("/")[0] for name in state if "/" in name}
    assert kinds == {"parameters", "factors", "inverses", "previous", "averages"}
    ends = [[update(*batch).as_dict() for batch in batches[REFRESHED_FIRST + 3 :]]]
    other, resumed = begun()
    resumed.load(path)
    assert_identical(resumed.state(), state)
    ends.append([resumed(*batch).as_dict() for batch in batches[REFRESHED_FIRST + 3 :]])
    np.testing.assert_equal(ends[0], ends[1])
    assert_identical(values_of(other), values_of(straight))
    assert_identical(state_of(resumed), state_of(update))
    assert_identical(resumed.averaged(), update.averaged())


def test_averages_are_kept_on_request_alone(rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    values, batch = case.values(rng), case.batch(rng, 4)
    problem = build(case, values)
    with pytest.raises(kfgn.SpecError, match="average_iterates"):
        compile_case(problem).averaged()
    update = compile_case(problem, average_iterates=True)
    update(*batch)
    assert_identical(update.averaged(), values_of(problem))  # the first stands alone
    update(*batch)
    update.averaged()["W0"][:] = 7.0  # a copy
    assert np.abs(update.averaged()["W0"] - values_of(problem)["W0"]).max() > 0
