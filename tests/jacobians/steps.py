"""Steps v = f(u_1, ..., u_m) of a network, and the check of their local Jacobians.

A step is written once, as the nets and losses of the tests are: see :mod:`tests.languages`. The
package builds its graph, JAX differentiates it example by example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytensor.tensor as pt
import pytest
from pytensor.compile.executor import Function
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.extend import LocalJacobian, Segment
from kfgn_graph.jacobians import local_jacobian
from kfgn_graph.layers.ir import affine, network_output
from tests.harness import assert_close, in_python
from tests.languages import PYTENSOR, jax_language
from tests.reference.jacobians import LocalTruth, local_truth
from tests.tolerances import LOCAL

OURS = SimpleNamespace(
    **vars(PYTENSOR),
    affine=affine,
    network_output=network_output,
    specify_shape=pt.specify_shape,
    join_dims=pt.join_dims,
    split_dims=pt.split_dims,
    drop_and_swap=lambda u: u.dimshuffle(0, 3, 1),
    cumsum=pt.cumsum,
    matmul=pt.matmul,
)
JUDGE = SimpleNamespace(
    **vars(jax_language({}, {})),
    affine=lambda a, W, b=0.0: a @ W + b,
    network_output=lambda z: z,
    specify_shape=lambda u, shape: u,
    join_dims=lambda u, start_axis, n_axes: u.reshape(
        (*u.shape[:start_axis], -1, *u.shape[start_axis + n_axes :])
    ),
    split_dims=lambda u, shape, axis: u.reshape((*u.shape[:axis], *shape, *u.shape[axis + 1 :])),
    drop_and_swap=lambda u: u[:, :, 0].transpose(0, 2, 1),
    cumsum=jnp.cumsum,
    matmul=jnp.matmul,
)

COLUMNS = 2  # K, and the columns of M
#: How many examples there are, by the number of axes that enumerate them.
BATCHES = {1: [(1,), (5,)], 2: [(1, 1), (2, 3)]}
#: The axes whose lengths the graph declares: all but the examples', none, or all.
DECLARED = (
    "events",
    pytest.param("nothing", marks=pytest.mark.thorough),
    pytest.param("everything", marks=pytest.mark.thorough),
)


@dataclass(frozen=True)
class Given:
    """An array that a step reads.

    Attributes
    ----------
    event : tuple of int
        Its shape, the example axes apart.
    axes : int
        How many example axes it has; 0 if it is the same for every example, as a weight is.
    """

    event: tuple[int, ...]
    axes: int = 1


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a network.

    Attributes
    ----------
    apply : callable
        ``(m, *varying, *held) -> v``, with the mathematics taken from ``m``.
    varying, held : tuple of Given
        The u_i, and the other arrays that it reads.
    axes : int
        How many example axes v has.
    """

    name: str
    apply: Callable[..., Any]
    varying: tuple[Given, ...]
    held: tuple[Given, ...] = ()
    axes: int = 1

    @cached_property
    def judge(self) -> Callable[..., Any]:
        """The step in JAX; the same object each time, so that it is compiled once."""
        return partial(self.apply, JUDGE)

    def segment(self, variables: list[TensorVariable]) -> Segment:
        """Return the step as a segment of a graph over these variables."""
        v = self.apply(OURS, *variables)
        varying = tuple(variables[: len(self.varying)])
        # an elementwise composition is one step; another Op reads the u_i itself
        assert isinstance(v.owner.op, Elemwise) or set(varying) <= set(v.owner.inputs)
        axes = (self.axes, *(u.axes for u in self.varying))
        return Segment(v.owner, v, varying, axes)

    def draw(self, rng: np.random.Generator, batch: tuple[int, ...]) -> list[np.ndarray]:
        """Draw the arrays that it reads, the u_i first."""
        return [
            rng.normal(size=(*(batch if given.axes else ()), *given.event))
            for given in (*self.varying, *self.held)
        ]

    def truth(self, arrays: list[np.ndarray]) -> LocalTruth:
        """Differentiate it by brute force."""
        axes = [given.axes for given in (*self.varying, *self.held)]
        pairs = list(zip(arrays, axes, strict=True))
        n = len(self.varying)
        return local_truth(self.judge, pairs[:n], pairs[n:], self.axes)


def step(
    name: str,
    apply: Callable[..., Any],
    *varying: tuple[int, ...],
    held: Iterable[Given] = (),
    axes: int = 1,
    result_axes: int | None = None,
) -> Step:
    """Return a step whose u_i have these event shapes and all ``axes`` example axes."""
    given = tuple(Given(event, axes) for event in varying)
    return Step(name, apply, given, tuple(held), axes if result_axes is None else result_axes)


def each(steps: Iterable[Step]) -> list[Any]:
    """Return parameters of a test, one for each step."""
    return [pytest.param(one, id=one.name) for one in steps]


def declared_shape(given: Given, batch: tuple[int, ...], declared: str) -> tuple[int | None, ...]:
    """Return the static shape of an array; lengths of 1 are declared in any case."""
    examples = batch if given.axes else ()
    lead = examples if declared == "everything" else (None,) * len(examples)
    if declared != "nothing":
        return (*lead, *given.event)
    return (*lead, *(1 if length == 1 else None for length in given.event))


@dataclass(frozen=True)
class Verbs:
    """A local Jacobian, and the variables of the messages that its verbs are applied to."""

    inputs: list[TensorVariable]
    jacobian: LocalJacobian
    C: TensorVariable
    M: TensorVariable
    G: TensorVariable
    g: TensorVariable

    @classmethod
    def of(cls, one: Step, batch: tuple[int, ...], declared: str, dtype: str = "float64") -> Verbs:
        """Build the graph of a step, find its local Jacobian, and make messages for it."""
        inputs = [
            pt.tensor(dtype=dtype, shape=declared_shape(given, batch, declared))
            for given in (*one.varying, *one.held)
        ]
        segment = one.segment(inputs)
        rank = segment.output.type.ndim - one.axes
        return cls(
            inputs,
            local_jacobian(segment.node.op, segment),
            C=pt.tensor("C", dtype=dtype, shape=(None,) * (2 + rank)),
            M=pt.tensor("M", dtype=dtype, shape=(None, None)),
            G=pt.tensor("G", dtype=dtype, shape=(None, None)),
            g=pt.tensor("g", dtype=dtype, shape=(None,) * (1 + rank)),
        )

    def answers(self, structured: bool) -> dict[str, list[TensorVariable]]:
        """Return the expressions of each verb: of ``transpose_apply`` alone if not structured.

        ``second_order`` is left out where it is None: v is linear then.
        """
        found = {"transpose_apply": self.jacobian.transpose_apply(self.C)}
        if structured:
            found["mean_transpose_apply"] = self.jacobian.mean_transpose_apply(self.M)
            found["mean_congruence"] = joined(self.jacobian.mean_congruence(self.G))
            second = self.jacobian.second_order(self.g)
            if second is not None:
                found["second_order"] = joined(second)
        return found

    def compiled(self, answers: dict[str, list[TensorVariable]]) -> Function:
        """Compile the answers to a function of the step's arrays, C, M, G and g."""
        return in_python([*self.inputs, self.C, self.M, self.G, self.g], joined(answers.values()))


def joined[T](rows: Iterable[Iterable[T]]) -> list[T]:
    """Return the entries of some lists, one list after the other."""
    return list(chain.from_iterable(rows))


def assert_verbs_are_dense(
    one: Step, rng: np.random.Generator, declared: str, structured: bool = True
) -> None:
    """Check every verb of a step's local Jacobian, at one and at more examples."""
    function = None
    for batch in BATCHES[one.varying[0].axes]:
        if function is None or declared == "everything":
            verbs = Verbs.of(one, batch, declared)
            answers = verbs.answers(structured)
            function = verbs.compiled(answers)
        check_answers(one, batch, answers, function, rng)


def check_answers(
    one: Step,
    batch: tuple[int, ...],
    answers: dict[str, list[TensorVariable]],
    function: Function,
    rng: np.random.Generator,
) -> None:
    """Evaluate the answers on a batch and on messages, both drawn at random."""
    arrays = one.draw(rng, batch)
    true = one.truth(arrays)
    n, d = int(np.prod(batch)), int(np.prod(true.event))
    C = rng.normal(size=(COLUMNS, n, *true.event))
    M = rng.normal(size=(d, COLUMNS))
    root = rng.normal(size=(d, d))
    G, g = root @ root.T, rng.normal(size=(n, *true.event))
    second = joined(true.second_order(g))
    expected = {
        "transpose_apply": [
            pulled.reshape((COLUMNS, n, *u.event))
            for pulled, u in zip(true.transpose_apply(C), one.varying, strict=True)
        ],
        "mean_transpose_apply": true.mean_transpose_apply(M),
        "mean_congruence": joined(true.mean_congruence(G)),
        "second_order": second,
    }
    values = iter(function(*arrays, C, M, G, g))
    for verb, expressions in answers.items():
        assert len(expressions) == len(expected[verb])
        for desired in expected[verb]:
            assert_close(next(values), desired, LOCAL)
    if "mean_congruence" in answers and "second_order" not in answers:
        assert not any(block.any() for block in second), "v is not linear"


def assert_single_precision_stays(one: Step, structured: bool = True) -> None:
    """Check that float32 messages of a float32 step stay float32."""
    verbs = Verbs.of(one, BATCHES[one.varying[0].axes][-1], "events", "float32")
    for verb, expressions in verbs.answers(structured).items():
        assert {e.type.dtype for e in expressions} == {"float32"}, verb
