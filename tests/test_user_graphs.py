"""What users bring: arrays of any layout, undeclared shapes, cut gradients, own functions."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import disconnected_grad, grad_clip, grad_scale, zero_grad

import kfgn_graph as kfgn
from tests.cases import Problem, build
from tests.harness import MODES
from tests.languages import PYTENSOR
from tests.stepping import (
    assert_same_parameters,
    case_of,
    compile_case,
    on_backends,
    slow,
    trainer_of,
    values_of,
)
from tests.tolerances import TRAJECTORY

LAYOUTS = {
    "every_other_row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed_twice": lambda a: a[::-1].copy()[::-1],
    "column_major": np.asfortranarray,
    "list": lambda a: a.tolist(),
    "single_precision": lambda a: a.astype("float32"),
    "whole_numbers": lambda a: a.astype("int64"),
}


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_the_layout_of_a_batch_does_not_matter(backend: str, rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    values = case.values(rng)
    x, y = (np.round(4 * a) for a in case.batch(rng, 4))  # the same numbers in every dtype
    x.flags.writeable = False
    problem = build(case, values)
    update = compile_case(problem, backend=backend, curvature_decay=0.0)
    update(x, y)
    wanted = values_of(problem)
    for name, layout in LAYOUTS.items():
        problem.set_values(values)
        update(layout(x), layout(y))
        for parameter, value in values_of(problem).items():
            np.testing.assert_allclose(value, wanted[parameter], rtol=TRAJECTORY, err_msg=name)


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize("method", ["KFRA", "KFLR"])
def test_shapes_need_not_be_declared(method: str, backend: str, rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    values, (x, y) = case.values(rng), case.batch(rng, 5)
    shared = {name: pytensor.shared(value, name=name) for name, value in values.items()}
    inputs = [pt.matrix("x"), pt.matrix("y")]
    output = case.net.forward(PYTENSOR, inputs[0], shared)
    loss = case.loss.forward(PYTENSOR, output, inputs[1])
    problem = Problem(case, loss, output, inputs, shared)
    trainer = trainer_of(case, values, method)
    update = compile_case(problem, method, backend=backend)
    for _ in range(2):
        update(x, y)
        trainer.update(x, y)
    assert_same_parameters(problem, trainer, TRAJECTORY)


CUTS = {
    "disconnected": disconnected_grad,
    "zero": zero_grad,
    "scaled": lambda h: grad_scale(h, 0.1),
    "clipped": lambda h: grad_clip(h, -0.01, 0.01),
}


@pytest.mark.parametrize("name", ["disconnected", "scaled", slow("zero"), slow("clipped")])
def test_a_gradient_that_the_user_changes_is_never_restored(
    name: str, rng: np.random.Generator
) -> None:
    case = case_of("tanh", "half_rows")
    values, (x, y) = case.values(rng), case.batch(rng, 5)
    problem = build(case, values, batch_size=5)
    p = problem.shared
    h = problem.inputs[0] @ p["W0"] + p["b0"]
    output = (pt.tanh(h) + CUTS[name](h)) @ p["W1"] + p["b1"]
    loss = case.loss.forward(PYTENSOR, output, problem.inputs[1])
    squares = [(g**2).sum() for g in pytensor.grad(loss, problem.params)]
    wanted = pytensor.function(problem.inputs, pt.sqrt(pt.add(*squares)), mode="JAX")(x, y)
    try:
        update = compile_case(Problem(case, loss, output, problem.inputs, p))
    except kfgn.KfgnError as error:
        assert "grad" in str(error).lower()  # to refuse is as good
    else:
        assert update(x, y).gradient_norm == pytest.approx(float(wanted), rel=TRAJECTORY)


def test_the_users_own_functions_work_between_updates(rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    values, (x, y) = case.values(rng), case.batch(rng, 5)
    problem, trainer = build(case, values, batch_size=5), trainer_of(case, values)
    evaluate = pytensor.function(problem.inputs, problem.loss, mode="JAX")
    update = compile_case(problem)
    for _ in range(3):
        assert evaluate(x, y) == pytest.approx(trainer.batch_factors(x, y)[0], rel=TRAJECTORY)
        update(x, y)
        trainer.update(x, y)
    problem.set_values(values)
    assert evaluate(x, y) == pytest.approx(update(x, y).loss, rel=TRAJECTORY)
