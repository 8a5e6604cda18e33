"""Elementwise Ops and their compositions: J = diag(f'(u)), another one at each example."""

from __future__ import annotations

import numpy as np
import pytest

from tests.jacobians.steps import (
    DECLARED,
    Given,
    Step,
    assert_single_precision_stays,
    assert_verbs_are_dense,
    each,
    step,
)
from tests.languages import ACTIVATIONS

SINGLE = [
    step("exp", lambda m, u: m.exp(u), (3,)),
    step("sqr", lambda m, u: m.sqr(u), (3,)),
    step("abs", lambda m, u: m.abs(u), (3,)),
    step("cosh", lambda m, u: m.cosh(u), (3,)),
    step("negation", lambda m, u: -u, (3,)),
    step("cube", lambda m, u: u**3, (3,)),
]
COMPOSITIONS = [step(name, f, (3,)) for name, f in ACTIVATIONS.items() if name != "identity"] + [
    step("used_twice", lambda m, u: u * u, (3,)),
    step("shared_part", lambda m, u: m.tanh(u) * (1 - m.tanh(u)), (3,)),
    step("deep", lambda m, u: m.exp(-m.sqr(m.tanh(2 * u) + 0.25)), (3,)),
]
SHAPES = [
    step("no_event_axis", lambda m, u: m.tanh(u), ()),
    step("one_entry", lambda m, u: m.tanh(u), (1,)),
    step("rank_two", lambda m, u: m.tanh(u), (2, 3)),
    step("rank_two_with_ones", lambda m, u: m.tanh(u), (1, 3)),
    step("two_example_axes", lambda m, u: m.tanh(u), (3,), axes=2),
    step("two_example_axes_rank_two", lambda m, u: m.tanh(u), (2, 3), axes=2),
]
SEVERAL = [
    step("product", lambda m, u, w: u * w, (3,), (3,)),
    step("gate", lambda m, u, w: m.tanh(u) * m.sigmoid(w), (3,), (3,)),
    step("quotient", lambda m, u, w: u / (1 + m.sqr(w)), (3,), (3,)),
    step("sum", lambda m, u, w: u + w, (3,), (3,)),
    step("maximum", lambda m, u, w: m.maximum(u, w), (3,), (3,)),
    step("three", lambda m, u, w, x: u * w + m.sigmoid(x * w), (3,), (3,), (3,)),
    step("rank_two_product", lambda m, u, w: u * m.exp(w), (2, 3), (2, 3)),
    step("two_axes_product", lambda m, u, w: u * m.exp(w), (3,), (3,), axes=2),
]
SCALE, MASK = Given((3,), axes=0), Given((3,))
HELD = [
    step("scaled", lambda m, u, s: m.tanh(u) * s, (3,), held=[SCALE]),
    step("scaled_inside", lambda m, u, s: m.tanh(s * u), (3,), held=[SCALE]),
    step("masked", lambda m, u, x: m.switch(x > 0, m.tanh(u), 0.0), (3,), held=[MASK]),
    step("gated_by_data", lambda m, u, x: u * m.exp(x), (3,), held=[MASK]),
]
BROADCAST = [
    step("column_times_matrix", lambda m, u, w: u * w, (1,), (3,)),
    step("column_inside", lambda m, u, w: m.tanh(u + w), (1,), (3,)),
    step("row_and_column", lambda m, u, w: m.tanh(u) * w, (2, 1), (1, 3)),
    step("column_and_data", lambda m, u, x: m.tanh(u + x), (1,), held=[MASK]),
    step("column_and_scale", lambda m, u, s: m.tanh(u) * s, (1,), held=[SCALE]),
    step("linear_column", lambda m, u, w: u + w, (1,), (3,)),
    step("number_over_rank_two", lambda m, u, w: m.exp(u) * m.sqr(w), (1, 1), (2, 3)),
    step("one_of_two_axes", lambda m, u, w: m.sigmoid(u) * w, (1, 3), (2, 3)),
    step("two_example_axes", lambda m, u, w: m.tanh(u * w), (1,), (3,), axes=2),
]
EVERY = [*SINGLE, *COMPOSITIONS, *SHAPES, *SEVERAL, *HELD, *BROADCAST]
#: Steps with a constant such as 0.1, which makes float32 numbers double in PyTensor itself.
DOUBLE = {"leaky", "leaky_switch", "clip", "gelu", "cubic"}


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("one", each([*SINGLE, *COMPOSITIONS, *SHAPES]))
def test_every_verb_is_dense(one: Step, declared: str, rng: np.random.Generator) -> None:
    assert_verbs_are_dense(one, rng, declared)


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("one", each([*SEVERAL, *HELD]))
def test_steps_that_read_several_arrays(
    one: Step, declared: str, rng: np.random.Generator
) -> None:
    assert_verbs_are_dense(one, rng, declared)


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("one", each(BROADCAST))
def test_an_input_that_is_broadcast_counts_as_repeated(
    one: Step, declared: str, rng: np.random.Generator
) -> None:
    assert_verbs_are_dense(one, rng, declared)


@pytest.mark.thorough
@pytest.mark.parametrize("one", each(s for s in EVERY if s.name not in DOUBLE))
def test_single_precision_stays_single(one: Step) -> None:
    assert_single_precision_stays(one)
