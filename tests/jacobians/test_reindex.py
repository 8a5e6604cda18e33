"""Ops that move, copy, drop or add up entries."""

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

RESHAPE = [
    step("flatten", lambda m, u: u.reshape((u.shape[0], 6)), (2, 3)),
    step("flatten_to_an_unknown_length", lambda m, u: u.reshape((u.shape[0], -1)), (2, 3)),
    step("unflatten", lambda m, u: u.reshape((u.shape[0], 2, 3)), (6,)),
    step("other_rank_two", lambda m, u: u.reshape((-1, 3, 2)), (2, 3)),
    step("merge_examples", lambda m, u: u.reshape((-1, 3)), (3,), axes=2, result_axes=1),
    step("split_examples", lambda m, u: u.reshape((1, -1, 3)), (3,), axes=1, result_axes=2),
    step("join_dims", lambda m, u: m.join_dims(u, 1, 2), (2, 3)),
    step("join_dims_of_three", lambda m, u: m.join_dims(u, 2, 2), (2, 3, 2)),
    step("join_dims_of_examples", lambda m, u: m.join_dims(u, 0, 2), (3,), axes=2, result_axes=1),
    step("split_dims", lambda m, u: m.split_dims(u, (2, 3), 1), (6,)),
    step("network_output", lambda m, u: m.network_output(u), (3,)),
    step("network_output_rank_two", lambda m, u: m.network_output(u), (2, 3), axes=2),
]
DIMSHUFFLE = [
    step("transpose", lambda m, u: u.transpose(0, 2, 1), (2, 3)),
    step("rotate", lambda m, u: u.transpose(0, 2, 3, 1), (2, 3, 4)),
    step("transpose_two_example_axes", lambda m, u: u.transpose(0, 1, 3, 2), (2, 3), axes=2),
    step("add_an_axis_in_front", lambda m, u: u[:, None, :], (3,)),
    step("add_an_axis_at_the_end", lambda m, u: u[:, :, None], (3,)),
    step("add_the_only_axis", lambda m, u: u[:, None], ()),
    step("add_to_two_example_axes", lambda m, u: u[:, :, None], (3,), axes=2, result_axes=2),
    step("drop_an_axis", lambda m, u: u.squeeze(1), (1, 3)),
    step("drop_the_only_axis", lambda m, u: u.squeeze(1), (1,)),
    step("drop_and_transpose", lambda m, u: m.drop_and_swap(u), (2, 1, 3)),
]
JOIN = [
    step("two", lambda m, u, w: m.concatenate([u, w], axis=1), (2,), (3,)),
    step("axis_from_the_end", lambda m, u, w: m.concatenate([u, w], axis=-1), (2, 2), (2, 3)),
    step("middle_axis", lambda m, u, w: m.concatenate([u, w], axis=1), (1, 3), (2, 3)),
    step("the_same_twice", lambda m, u: m.concatenate([u, u], axis=1), (3,)),
    step("one_again_later", lambda m, u, w: m.concatenate([u, w, u], axis=1), (2,), (3,)),
    step(
        "with_data",
        lambda m, u, w, x: m.concatenate([x, u, x, w], axis=1),
        (2,),
        (3,),
        held=[Given((2,))],
    ),
    step("two_example_axes", lambda m, u, w: m.concatenate([u, w], axis=2), (2,), (3,), axes=2),
]
SLICES = [
    step("leading", lambda m, u: u[:, :2], (4,)),
    step("inner", lambda m, u: u[:, 1:3], (4,)),
    step("from_the_end", lambda m, u: u[:, -2:], (4,)),
    step("every_other", lambda m, u: u[:, ::2], (4,)),
    step("backwards", lambda m, u: u[:, ::-1], (4,)),
    step("one_column", lambda m, u: u[:, 1], (4,)),
    step("last_axis", lambda m, u: u[:, :, 1:], (2, 3)),
    step("ellipsis", lambda m, u: u[..., :2], (2, 3)),
    step("both_axes", lambda m, u: u[:, 1:, ::-1], (3, 2)),
    step("one_row", lambda m, u: u[:, 0], (2, 3)),
    step("one_of_the_last", lambda m, u: u[:, :, -1], (2, 3)),
    step("two_example_axes", lambda m, u: u[:, :, 1:], (3,), axes=2),
]
SUMS = [
    step("only_axis", lambda m, u: u.sum(axis=1), (3,)),
    step("first_axis", lambda m, u: u.sum(axis=1), (2, 3)),
    step("last_axis", lambda m, u: u.sum(axis=-1), (2, 3)),
    step("both_axes", lambda m, u: u.sum(axis=(1, 2)), (2, 3)),
    step("outer_axes", lambda m, u: u.sum(axis=(1, 3)), (2, 3, 2)),
    step("two_example_axes", lambda m, u: u.sum(axis=2), (2, 3), axes=2),
]
EVERY = [*RESHAPE, *DIMSHUFFLE, *JOIN, *SLICES, *SUMS]


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("one", each(RESHAPE))
def test_reshapes(one: Step, declared: str, rng: np.random.Generator) -> None:
    assert_verbs_are_dense(one, rng, declared)


def test_a_shape_that_the_graph_states(rng: np.random.Generator) -> None:
    one = step("specify_shape", lambda m, u: m.specify_shape(u, (None, 3)), (3,))
    assert_verbs_are_dense(one, rng, "nothing")


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("one", each(DIMSHUFFLE))
def test_transposes_and_axes_of_length_one(
    one: Step, declared: str, rng: np.random.Generator
) -> None:
    assert_verbs_are_dense(one, rng, declared)


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("one", each(JOIN))
def test_concatenations(one: Step, declared: str, rng: np.random.Generator) -> None:
    assert_verbs_are_dense(one, rng, declared)


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("one", each(SLICES))
def test_slices(one: Step, declared: str, rng: np.random.Generator) -> None:
    assert_verbs_are_dense(one, rng, declared)


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("one", each(SUMS))
def test_sums(one: Step, declared: str, rng: np.random.Generator) -> None:
    assert_verbs_are_dense(one, rng, declared)


@pytest.mark.thorough
@pytest.mark.parametrize("one", each(EVERY))
def test_single_precision_stays_single(one: Step) -> None:
    assert_single_precision_stays(one)
