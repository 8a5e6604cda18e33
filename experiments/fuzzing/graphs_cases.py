"""A random network with its loss, as a PyTensor graph and as a computation in NumPy."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from experiments.fuzzing import graphs_meaning
from experiments.fuzzing.graphs_drawing import Drawing
from experiments.fuzzing.graphs_jets import Jet, Tape
from experiments.fuzzing.graphs_losses import terms
from experiments.fuzzing.graphs_networks import body, inputs, reshaped
from experiments.fuzzing.graphs_reductions import joined_terms, penalised
from experiments.fuzzing.graphs_spelling import Spelling

PLACES = ["input", "input", "input", "shared", "constant", "minibatch", "gather", "mixed"]


@dataclass(frozen=True)
class Problem:
    """A PyTensor graph with all that an update of it takes.

    Attributes
    ----------
    loss : TensorVariable
    parameters : dict
        All shared variables with trainable values, by name.
    trained : list
        Those to train.
    inputs, batch : list
        The input variables, and an array for each.
    output : TensorVariable or None
        The variable at which the loss is to be split.
    treatment : str
        The treatment of unmatched parameters.
    """

    loss: Any
    parameters: dict[str, Any]
    trained: list[Any]
    inputs: list[Any]
    batch: list[np.ndarray]
    output: Any
    treatment: str


@dataclass(frozen=True)
class Case:
    """A random network with its loss.

    Attributes
    ----------
    seed, number : int
        What it was drawn from.
    draw : Drawing
        Its parameters, data and statements; the last statement is the loss.
    """

    seed: int
    number: int
    draw: Drawing

    def choices(self, purpose: str) -> random.Random:
        """Return a source of further choices."""
        return random.Random(f"{self.seed}-{self.number}-{purpose}")

    def describe(self) -> str:
        """Return the network as text."""
        d = self.draw
        lines = [f"seed {self.seed}, number {self.number}, N = {d.count}, {d.dtype}"]
        lines += [f"  {name}: {v.shape}" for name, v in d.parameters.items()]
        lines += [f"  {name}: {v.array.dtype} {v.array.shape}" for name, v in d.data.items()]
        return "\n".join([*lines, *(f"  {note}" for note in d.notes)])

    def meaning(
        self,
        order: int,
        *,
        variables: tuple[str, ...] = (),
        seeds: dict[int, int] | None = None,
        count: int = 0,
        parameters: dict[str, np.ndarray] | None = None,
    ) -> tuple[Tape, Jet]:
        """Compute the loss in NumPy.

        Parameters
        ----------
        order : int
            The order of the derivatives.
        variables : tuple of str
            The parameters by which to differentiate, in this order.
        seeds : dict, optional
            The results by which to differentiate instead, with their places among ``count``.
        parameters : dict, optional
            Other values of the parameters.
        """
        values = parameters or self.draw.parameters
        sizes = [values[name].size for name in variables]
        tape = Tape(count or sum(sizes), order, seeds)
        starts = dict(zip(variables, np.cumsum([0, *sizes[:-1]]), strict=True)) if sizes else {}
        env: dict[str, Any] = {
            name: tape.variable(value, starts.get(name)) for name, value in values.items()
        }
        for name, datum in self.draw.data.items():
            env[name] = tape.variable(datum.array, None)
        with np.errstate(all="ignore"):
            for name, statement in self.draw.statements:
                env[name] = statement(graphs_meaning, env)
        return tape, env[self.draw.statements[-1][0]]

    def problem(self, plain: bool = False) -> Problem:
        """Return the loss as a PyTensor graph."""
        rng = self.choices("graph")
        words = Spelling(self.choices("spelling"), plain)
        env: dict[str, Any] = {}
        for name, value in self.draw.parameters.items():
            known = 1 in value.shape or rng.random() < 0.7
            shape = value.shape if known else (None,) * value.ndim
            env[name] = pytensor.shared(value.copy(), name=name, shape=shape)
        parameters = dict(env)
        given = self._place_data(env, rng)
        for name, statement in self.draw.statements:
            env[name] = statement(words, env)
        names = list(parameters)
        rng.shuffle(names)
        if len(names) > 1 and rng.random() < 0.1:
            names = names[: rng.randint(1, len(names) - 1)]
        output = None
        if rng.random() < 0.04:
            output = env[rng.choice(self.draw.statements)[0]]
        treatment = rng.choices(["error", "gradient", "freeze"], [6, 3, 1])[0]
        return Problem(
            env[self.draw.statements[-1][0]],
            parameters,
            [parameters[n] for n in names],
            [v for v, _ in given],
            [a for _, a in given],
            output,
            treatment,
        )

    def _place_data(self, env: dict[str, Any], rng: random.Random) -> list[tuple[Any, Any]]:
        """Add the data to the environment; return the inputs with their arrays."""
        place = rng.choice(PLACES)
        given: list[tuple[Any, Any]] = []
        count = self.draw.count
        index: Any = None
        if place == "minibatch":
            index = pt.lscalar("index")
            given.append((index, np.int64(1)))
        if place == "gather":
            index = pt.lvector("index")
            given.append((index, 2 * np.arange(count)[::-1]))
        for name, datum in self.draw.data.items():
            own = rng.choice(["input", "shared", "constant"]) if place == "mixed" else place
            if not datum.rows and own not in ("shared", "constant"):
                own = rng.choice(["shared", "constant"])
            array = datum.array
            if own == "input":
                env[name] = pt.tensor(name, dtype=str(array.dtype), shape=_shape(array, rng))
                given.append((env[name], array))
            elif own == "constant":
                env[name] = pt.constant(array, name=name)
            elif own == "shared":
                env[name] = pytensor.shared(array, name=name, shape=_shape(array, rng))
            else:
                env[name] = self._of_all(name, array, own, index)
        return given

    def _of_all(self, name: str, array: np.ndarray, place: str, index: Any) -> Any:
        """Return a batch, taken by an index from a shared variable of more examples."""
        n = self.draw.count
        shape = (None, *(1 if k == 1 else None for k in array.shape[1:]))
        if place == "minibatch":
            every = np.concatenate([array[::-1], array, array[::-1]])
            return pytensor.shared(every, name=name, shape=shape)[index * n : (index + 1) * n]
        every = np.repeat(array[::-1], 2, axis=0)
        return pytensor.shared(every, name=name, shape=shape)[index]


def _shape(array: np.ndarray, rng: random.Random) -> tuple[int | None, ...]:
    """Return what is declared of a shape; axes of length 1 are broadcast only if declared."""
    way = rng.choice(["batch", "batch", "none", "all"])
    if way == "all":
        return array.shape
    rest = (
        array.shape[1:]
        if way == "batch"
        else tuple(1 if k == 1 else None for k in array.shape[1:])
    )
    return (None, *rest)


def draw_case(seed: int, number: int) -> Case:
    """Draw the network of a number."""
    rng = random.Random(f"{seed}-{number}")
    draw = Drawing(
        rng, rng.choice([1, 2, 3, 3, 4, 5, 6]), rng.choice(["float64"] * 3 + ["float32"])
    )
    x = inputs(draw)
    h = reshaped(draw, body(draw, x), x)
    loss = joined_terms(draw, terms(draw, h))
    penalised(draw, loss)
    return Case(seed, number, draw)
