"""What the tests of compiled updates share: building, comparing, and the transcription."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

import kfgn_graph as kfgn
from tests.cases import Case, Problem
from tests.harness import assert_close
from tests.losses import LOSSES
from tests.nets import NETS
from tests.reference.training import Trainer

METHODS = {"KFRA": kfgn.KFRA(), "KFLR": kfgn.KFLR(), "KFAC": kfgn.KFAC()}
DETERMINISTIC = ("KFRA", "KFLR")
DAMPING = 0.05


def slow(*values: str) -> object:
    """Return a row of parameters that the everyday run leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)


def thorough(*values: str) -> object:
    """Return a row of parameters that `make quick` leaves out."""
    return pytest.param(*values, marks=pytest.mark.thorough)


def on_backends(names: Iterable[str]) -> list[object]:
    """Return the backends to run on: those that take long to compile in the slow run alone."""
    return [name if name == "jax" else slow(name) for name in names]


def case_of(net: str = "mixed", loss: str = "bernoulli") -> Case:
    """Return a chain net with a loss of which the transcription has the derivatives."""
    return Case(NETS[net], LOSSES[loss])


def trainer_of(
    case: Case,
    values: dict[str, np.ndarray],
    method: str = "KFRA",
    l2: float = 0.0,
    decay: float = 0.95,
    refresh_every: int = 1,
) -> Trainer:
    """Return the transcription, at the same parameters."""
    layers = case.net.layers
    return Trainer(
        [values[s.weight].copy() for s in layers],
        [values[str(s.bias)].copy() for s in layers],
        case.net.chain or (),
        case.loss.name,
        method,
        gamma=float(np.sqrt(DAMPING + l2)),
        l2=l2,
        decay=decay,
        refresh_every=refresh_every,
    )


def compile_case(problem: Problem, method: str = "KFRA", **settings: object) -> kfgn.Update:
    """Compile the update of a case, with constant damping and a step of one."""
    plain: dict[str, object] = {"damping": kfgn.ConstantDamping(DAMPING), "step": 1.0}
    plain |= {"curvature_decay": 0.95, "factors_every": 1, "refresh_every": 1}
    plain |= {"method": METHODS[method], "backend": "jax"}
    return kfgn.compile_update(problem.loss, problem.params, problem.inputs, **plain | settings)


def assert_same_parameters(problem: Problem, trainer: Trainer, tolerance: float) -> None:
    """Compare all of the parameters with those of the transcription."""
    for i, spec in enumerate(problem.case.net.layers):
        shared = problem.shared
        assert_close(shared[spec.weight].get_value(), trainer.weights[i], tolerance)
        assert_close(shared[str(spec.bias)].get_value(), trainer.biases[i], tolerance)


def values_of(problem: Problem) -> dict[str, np.ndarray]:
    """Return a copy of all parameters."""
    return {name: np.array(v.get_value()) for name, v in problem.shared.items()}


def assert_identical(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    """Compare bit for bit."""
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(second[name]), err_msg=name)


def state_of(update: kfgn.Update) -> dict[str, np.ndarray]:
    """Return a copy of all that persists."""
    return {name: np.array(array) for name, array in update.state().items()}
