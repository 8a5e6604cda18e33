"""Affine maps: J = W^T at every example."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
import pytest

from kfgn_graph.jacobians.affine import AffineJacobian
from kfgn_graph.linalg.matrices import diagonal
from tests.harness import assert_close, in_python
from tests.jacobians.steps import (
    DECLARED,
    Given,
    Step,
    Verbs,
    assert_single_precision_stays,
    assert_verbs_are_dense,
    each,
    step,
)
from tests.tolerances import LOCAL

W, V, b = Given((3, 4), axes=0), Given((4, 3), axes=0), Given((4,), axes=0)
AFFINE = [
    step("no_bias", lambda m, a, W: m.affine(a, W), (3,), held=[W]),
    step("bias", lambda m, a, W, b: m.affine(a, W, b), (3,), held=[W, b]),
    step("transposed", lambda m, a, V, b: m.affine(a, V.T, b), (3,), held=[V, b]),
    step("extra_axis", lambda m, a, W, b: m.affine(a, W, b), (2, 3), held=[W, b]),
    step("extra_axis_transposed", lambda m, a, V: m.affine(a, V.T), (2, 3), held=[V]),
    step("two_extra_axes", lambda m, a, W: m.affine(a, W), (2, 2, 3), held=[W]),
    step("two_example_axes", lambda m, a, W, b: m.affine(a, W, b), (3,), held=[W, b], axes=2),
    step("two_and_an_extra", lambda m, a, W: m.affine(a, W), (2, 3), held=[W], axes=2),
    step("one_input", lambda m, a, W: m.affine(a, W), (1,), held=[Given((1, 4), axes=0)]),
    step("one_output", lambda m, a, W: m.affine(a, W), (3,), held=[Given((3, 1), axes=0)]),
    step("dot", lambda m, a, W: m.dot(a, W), (3,), held=[W]),
    step("dot_transposed", lambda m, a, V: m.dot(a, V.T), (3,), held=[V]),
]


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("one", each(AFFINE))
def test_every_verb_is_dense(one: Step, declared: str, rng: np.random.Generator) -> None:
    assert_verbs_are_dense(one, rng, declared)


@pytest.mark.thorough
@pytest.mark.parametrize("one", each(AFFINE))
def test_single_precision_stays_single(one: Step) -> None:
    assert_single_precision_stays(one)


@pytest.mark.parametrize("name", ["no_bias", "transposed", "extra_axis", "two_example_axes"])
def test_the_congruence_with_a_diagonal(name: str, rng: np.random.Generator) -> None:
    """Of a diagonal G that is declared one, and has zeros."""
    (one,) = (s for s in AFFINE if s.name == name)
    batch = (2, 3)[: one.axes]
    verbs = Verbs.of(one, batch, "events")
    assert isinstance(verbs.jacobian, AffineJacobian)
    arrays = one.draw(rng, batch)
    true = one.truth(arrays)
    d = pt.vector("d")
    ((block,),) = verbs.jacobian.mean_congruence(diagonal(d))
    values = rng.uniform(size=int(np.prod(true.event)))
    values[0] = 0.0
    found = in_python([*verbs.inputs, d], [block])(*arrays, values)[0]
    assert_close(found, true.mean_congruence(np.diag(values))[0][0], LOCAL)
