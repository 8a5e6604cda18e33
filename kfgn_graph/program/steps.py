"""A common interface of compiled steps, second-order and first-order, and their state."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable

import kfgn_graph as kfgn
from kfgn_graph.errors import BatchError, CheckpointError, SpecError

State = Mapping[str, np.ndarray]
UNFIT = (ValueError, TypeError, AssertionError, IndexError)
"""Errors of a PyTensor function whose arguments do not fit its graph."""


class Step(Protocol):
    """A compiled training step."""

    def __call__(self, *batch: np.ndarray) -> float:
        """Update the parameters in place and return the batch's loss before the update.

        Parameters
        ----------
        *batch : ndarray
            The arrays of a batch, in the order of the graph's inputs.

        Raises
        ------
        BatchError
            The batch does not fit the graph.
        """

    def compile(self, *batch: np.ndarray) -> None:
        """Compile all that an update needs, by an update whose effects are undone.

        Parameters
        ----------
        *batch : ndarray
            A batch of the size of all later ones.
        """

    @property
    def skipped(self) -> int:
        """Number of updates skipped so far."""

    @property
    def update(self) -> kfgn.Update | None:
        """The compiled update of :func:`kfgn_graph.compile_update`; None for first-order rules."""

    def statistics(self) -> dict[str, float]:
        """Return the statistics of the last update by name; empty if there are none."""

    def averaged(self) -> State | None:
        """Return the averaged iterates by parameter name; None where no average is kept."""

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of all arrays that persist from one update to the next, by name."""

    def load_state(self, state: State) -> None:
        """Restore a state that :meth:`state` returned.

        Raises
        ------
        CheckpointError
            The state does not fit this step.
        """


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

    def compile(self, *batch: np.ndarray) -> None:
        before = self.update.state()
        try:
            self.update(*batch).as_dict()  # reading waits until the update is done
        finally:
            self.update.load_state(before)

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
    """A compiled first-order rule. It reports the loss and no other statistics.

    Parameters
    ----------
    function : PyTensor function
        The compiled step, called with a batch.
    parameters : sequence of shared variables
        The parameters. All other shared variables belong to the rule or to the graph.
    loss_output : int or None
        Index of the batch's loss among the outputs; None if it is the only output.

    Raises
    ------
    SpecError
        A shared variable is not an array, for example a random number generator.
    """

    update = None

    def __init__(
        self,
        function: Callable[..., Any],
        parameters: Sequence[SharedVariable],
        loss_output: int | None = None,
    ) -> None:
        self._function = function
        self._fitted = False
        self._loss_output = loss_output
        self._kept = _named("parameters", parameters)
        kept: list[SharedVariable] = function.get_shared()  # type: ignore[attr-defined]
        others = [v for v in kept if v not in set(parameters)]
        self._kept |= _named("rule", others)
        for name, variable in self._kept.items():
            if not hasattr(variable.type, "dtype"):
                raise SpecError(
                    f"the graph keeps {name} from update to update. It is a {variable.type}, not "
                    "an array, and cannot be saved: train a graph without random draws."
                )
        self.skipped = 0

    def __call__(self, *batch: np.ndarray) -> float:
        try:
            with own_shape_checks():
                outputs = self._function(*batch)
        except UNFIT as error:
            if self._fitted:
                raise
            shapes = ", ".join(str(array.shape) for array in batch)
            reason = next(iter(str(error).splitlines()), "").rstrip(".")
            raise BatchError(
                f"an update on arrays of the shapes {shapes} failed: {type(error).__name__}: "
                f"{reason}. Check that they fit the graph."
            ) from error
        self._fitted = True
        return float(outputs if self._loss_output is None else outputs[self._loss_output])

    def compile(self, *batch: np.ndarray) -> None:
        before = self.state()
        try:
            self(*batch)
        finally:
            self.load_state(before)

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
                f"the state does not fit: missing {missing}, unknown {unknown}. It must come from "
                "the same network and method."
            )
        for name, here in self.state().items():
            there = np.asarray(state[name])
            if there.shape != here.shape or there.dtype != here.dtype:
                raise CheckpointError(
                    f"the state does not fit: {name} is {there.dtype} {there.shape}, but "
                    f"{here.dtype} {here.shape} is needed."
                )
        for name, variable in self._kept.items():
            variable.set_value(np.array(state[name]), borrow=True)


@contextmanager
def own_shape_checks() -> Iterator[None]:
    """Silence the warning that JAX skips the graph's assertions; JAX checks shapes itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipping Assert", UserWarning)
        yield


def _named(kind: str, variables: Sequence[SharedVariable]) -> dict[str, SharedVariable]:
    """Return variables by unique names: their own, with the index if it is missing or taken."""
    named: dict[str, SharedVariable] = {}
    for index, variable in enumerate(variables):
        name = f"{kind}/{variable.name or index}"
        while name in named:
            name = f"{name}_{index}"
        named[name] = variable
    return named
