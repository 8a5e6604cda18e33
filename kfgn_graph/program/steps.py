"""Compiled steps behind one interface, whatever made them, and all that they keep."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable

import kfgn_graph as kfgn
from kfgn_graph.errors import CheckpointError, SpecError

State = Mapping[str, np.ndarray]


class Step(Protocol):
    """One update from one batch: arrays in the order of the graph's inputs; returns the loss."""

    def __call__(self, *batch: np.ndarray) -> float:
        """Update the parameters; return the batch's loss before the update."""

    @property
    def skipped(self) -> int:
        """Updates so far that were given up."""

    @property
    def update(self) -> kfgn.Update | None:
        """The compiled update of :func:`kfgn_graph.compile_update`, where it is one."""

    def statistics(self) -> dict[str, float]:
        """Return what the last update reported of itself; empty where it reports nothing."""

    def averaged(self) -> State | None:
        """Return the averaged iterates by parameter name, where there are any."""

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of all that persists from one update to the next, by name."""

    def load_state(self, state: State) -> None:
        """Restore what :meth:`state` returned; :class:`CheckpointError` if it does not fit."""


class PackageStep:
    """A compiled update of :mod:`kfgn_graph`."""

    def __init__(self, update: kfgn.Update, averages: bool) -> None:
        self.update = update
        self._averages = averages
        self._last: kfgn.UpdateStats | None = None
        self.skipped = 0

    def __call__(self, *batch: np.ndarray) -> float:
        self._last = self.update(*batch)
        self.skipped += bool(self._last.skipped)
        return float(self._last.loss)

    def statistics(self) -> dict[str, float]:
        if self._last is None:
            return {}
        return {name: float(value) for name, value in self._last.as_dict().items()}

    def averaged(self) -> State | None:
        return self.update.averaged() if self._averages else None

    def state(self) -> dict[str, np.ndarray]:
        return self.update.state()

    def load_state(self, state: State) -> None:
        self.update.load_state(state)


class RuleStep:
    """A compiled first-order rule, which returns the loss and reports nothing else.

    Parameters
    ----------
    function : PyTensor function
        Called with a batch.
    parameters : sequence of shared variables
        What it trains. All else that it updates belongs to the rule, or to the graph.
    loss_output : int or None
        Which of the outputs is the batch's loss; None where there is but one.

    Raises
    ------
    SpecError
        It keeps something that is no array, as a generator of random numbers.
    """

    update = None

    def __init__(
        self,
        function: Callable[..., Any],
        parameters: Sequence[SharedVariable],
        loss_output: int | None = None,
    ) -> None:
        self._function = function
        self._loss_output = loss_output
        self._kept = _named("parameters", parameters)
        kept: list[SharedVariable] = function.get_shared()  # type: ignore[attr-defined]
        others = [v for v in kept if v not in set(parameters)]
        self._kept |= _named("rule", others)
        for name, variable in self._kept.items():
            if not hasattr(variable.type, "dtype"):
                raise SpecError(
                    f"the graph keeps {name} from update to update, a {variable.type}, which is "
                    "no array and cannot be saved: train a graph without random draws."
                )
        self.skipped = 0

    def __call__(self, *batch: np.ndarray) -> float:
        with own_shape_checks():
            outputs = self._function(*batch)
        return float(outputs if self._loss_output is None else outputs[self._loss_output])

    def statistics(self) -> dict[str, float]:
        return {}

    def averaged(self) -> None:
        return None

    def state(self) -> dict[str, np.ndarray]:
        return {name: np.array(v.get_value(borrow=True)) for name, v in self._kept.items()}

    def load_state(self, state: State) -> None:
        if set(state) != set(self._kept):
            missing = sorted(set(self._kept) - set(state))
            unknown = sorted(set(state) - set(self._kept))
            raise CheckpointError(
                f"the state does not fit: missing {missing}, unknown {unknown}. It must be of "
                "the same network and method."
            )
        for name, here in self.state().items():
            there = np.asarray(state[name])
            if there.shape != here.shape or there.dtype != here.dtype:
                raise CheckpointError(
                    f"the state does not fit: {name} is {there.dtype} {there.shape}, but "
                    f"{here.dtype} {here.shape} is wanted."
                )
        for name, variable in self._kept.items():
            variable.set_value(np.array(state[name]), borrow=True)


@contextmanager
def own_shape_checks() -> Iterator[None]:
    """Let JAX leave out, without a warning, shape checks of the graph that it makes itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipping Assert", UserWarning)
        yield


def _named(kind: str, variables: Sequence[SharedVariable]) -> dict[str, SharedVariable]:
    """Return variables by names of their own: theirs, with the place where it is not enough."""
    named: dict[str, SharedVariable] = {}
    for index, variable in enumerate(variables):
        name = f"{kind}/{variable.name or index}"
        named[name if name not in named else f"{name}_{index}"] = variable
    return named
