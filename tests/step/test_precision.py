"""Single precision stays single, and agrees with double."""

from __future__ import annotations

import numpy as np
import pytensor
import pytest
from pytensor.tensor.elemwise import CAReduce

import kfgn_graph as kfgn
from tests.cases import build
from tests.harness import MODES
from tests.stepping import (
    DAMPING,
    assert_same_parameters,
    case_of,
    compile_case,
    on_backends,
    state_of,
    trainer_of,
)
from tests.tolerances import SINGLE_TRAJECTORY

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize("loss", ["half_rows", "bernoulli", "labels"])
def test_ten_updates_in_single_precision(
    loss: str, backend: str, rng: np.random.Generator
) -> None:
    case = case_of("tanh", loss)
    values = case.values(rng)
    problem, trainer = build(case, values, dtype="float32"), trainer_of(case, values, "KFRA")
    update = compile_case(problem, backend=backend)
    for _ in range(10):
        x, y = case.batch(rng, 6)
        update(*to_single((x, y)))
        trainer.update(x, y)
    floats = {a.dtype for a in state_of(update).values() if a.dtype.kind == "f"}
    assert floats == {np.dtype("float32")}
    assert_same_parameters(problem, trainer, SINGLE_TRAJECTORY)


@pytest.mark.parametrize("mode", on_backends(MODES))
def test_the_updates_dictionary_keeps_single_precision(
    mode: str, rng: np.random.Generator
) -> None:
    case = case_of("tanh", "labels")
    problem = build(case, case.values(rng), batch_size=4, dtype="float32")
    updates = kfgn.kfgn_updates(
        problem.loss, problem.params, damping=kfgn.ConstantDamping(DAMPING)
    )
    step = pytensor.function(problem.inputs, problem.loss, updates=updates, mode=MODES[mode])
    step(*to_single(case.batch(rng, 4)))
    assert {v.name for v in updates if v.get_value().dtype == np.float64} == set()


def to_single(batch: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Return the batch with its real numbers in single precision."""
    return tuple(a.astype("float32") if a.dtype.kind == "f" else a for a in batch)


def dtypes_inside(fgraph: object, accumulators: bool) -> set[str]:
    """Return the dtypes of all that a graph computes with, inside its Ops included.

    ``accumulators`` says whether those of sums count: C and Numba add up in a register, which may
    well be a double one, while JAX makes arrays of their dtype.
    """
    found = set()
    for variable in fgraph.variables:  # type: ignore[attr-defined]
        found.add(str(getattr(variable.type, "dtype", "")))
    for node in fgraph.apply_nodes:  # type: ignore[attr-defined]
        if isinstance(node.op, CAReduce):
            found |= {str(getattr(node.op, "acc_dtype", ""))} if accumulators else set()
            continue
        inner = getattr(node.op, "fgraph", None)
        scalar = getattr(getattr(node.op, "scalar_op", None), "fgraph", None)
        for graph in (inner, scalar):
            found |= dtypes_inside(graph, accumulators) if graph is not None else set()
    return found


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize(
    ("method", "loss"), [("KFRA", "half_rows"), ("KFRA", "bernoulli"), ("KFLR", "labels")]
)
def test_a_single_precision_program_has_no_double(
    method: str, loss: str, backend: str, rng: np.random.Generator
) -> None:
    case = case_of("tanh", loss)
    problem = build(case, case.values(rng), dtype="float32")
    update = compile_case(problem, method, backend=backend)
    function = update.function_for(to_single(case.batch(rng, 6)))
    dtypes = dtypes_inside(function.maker.fgraph, accumulators=backend == "jax")
    assert "float32" in dtypes
    assert not dtypes & {"float64", "complex64", "complex128"}
