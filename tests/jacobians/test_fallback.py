"""Ops known by their own pullback alone: one verb, and refusals of the others."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import kfgn_graph as kfgn
from kfgn_graph.jacobians.fallback import PullbackJacobian
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

UNSTRUCTURED = [
    step("log_softmax_rank_two", lambda m, u: m.log_softmax(u), (2, 3)),
    step("cumulative_sum", lambda m, u: m.cumsum(u, axis=1), (3,)),
    step("product_over_an_axis", lambda m, u: u.prod(axis=1), (3,)),
    step("second_part_of_a_split", lambda m, u: m.split(u, [2, 3])[1], (5,)),
    step("two_matrices", lambda m, u, w: m.matmul(u, w), (2, 3), (3, 2)),
    step("matrix_of_data", lambda m, u, x: m.matmul(u, x), (2, 3), held=[Given((3, 2))]),
]


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("one", each(UNSTRUCTURED))
def test_the_pullback_is_dense(one: Step, declared: str, rng: np.random.Generator) -> None:
    assert_verbs_are_dense(one, rng, declared, structured=False)


@pytest.mark.thorough
@pytest.mark.parametrize("one", each(UNSTRUCTURED))
def test_single_precision_stays_single(one: Step) -> None:
    assert_single_precision_stays(one, structured=False)


REFUSED: dict[str, tuple[Callable[[Verbs], object], tuple[str, ...]]] = {
    "mean_transpose_apply": (
        lambda verbs: verbs.jacobian.mean_transpose_apply(verbs.M),
        ("KFRA", "KFLR or KFAC", "kfgn_graph.register_local_jacobian"),
    ),
    "mean_congruence": (
        lambda verbs: verbs.jacobian.mean_congruence(verbs.G),
        ("KFRA", "KFLR or KFAC", "kfgn_graph.register_local_jacobian"),
    ),
    "second_order": (
        lambda verbs: verbs.jacobian.second_order(verbs.g),
        ("BlockHessian", "BlockGaussNewton, KFLR or KFAC"),
    ),
}


@pytest.mark.parametrize("verb", REFUSED)
@pytest.mark.parametrize("one", each(UNSTRUCTURED))
def test_what_has_no_rule_is_refused_with_what_works(one: Step, verb: str) -> None:
    """The error names the Op, the variable that it makes, and the methods that need no rule."""
    ask, words = REFUSED[verb]
    verbs = Verbs.of(one, (5, 2)[: one.axes], "events")
    assert isinstance(verbs.jacobian, PullbackJacobian)
    segment = verbs.jacobian.segment
    segment.output.name = "the_result"
    with pytest.raises(kfgn.CurvatureRuleNotFound) as caught:
        ask(verbs)
    message = str(caught.value)
    for word in (str(segment.node.op), "the_result", *words):
        assert re.search(re.escape(word), message), f"{word!r} is not in {message!r}"
