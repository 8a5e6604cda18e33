"""The budget of a run, and what a method did within it."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Budget:
    """When to stop: after so many updates or so many seconds, whichever comes first.

    Attributes
    ----------
    updates : int or None
        At most so many updates.
    seconds : float or None
        Stop after the update that reaches this many seconds.
    """

    updates: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.updates is None and self.seconds is None:
            raise ValueError("A budget needs a number of updates, of seconds, or both.")
        if any(limit is not None and limit <= 0 for limit in (self.updates, self.seconds)):
            raise ValueError(f"A budget has to be positive; got {self}.")

    def spent(self, updates: int, seconds: float) -> float:
        """Return the share of the budget that is spent, 1 or more when it is used up."""
        shares = [0.0]
        if self.updates is not None:
            shares.append(updates / self.updates)
        if self.seconds is not None:
            shares.append(seconds / self.seconds)
        return max(shares)


@dataclass(frozen=True)
class Evaluation:
    """The training-set loss at one moment of a run.

    Attributes
    ----------
    updates : int
        Done so far.
    seconds : float
        Of stepping, so far.
    loss : float
        Over the whole training set.
    averaged_loss : float or None
        The same at the averaged iterates, where the method keeps them.
    statistics : dict
        What the last update reported of itself, where it reports anything.
    """

    updates: int
    seconds: float
    loss: float
    averaged_loss: float | None = None
    statistics: dict[str, float] = field(default_factory=dict)


@dataclass
class Run:
    """What one method did.

    Attributes
    ----------
    name, settings : str
        Of the method.
    compile_seconds : float
        Building the step and its first call, which compiles; that call is also the first update.
    seconds : list of float
        When each update was done, in seconds of stepping since the end of the first call.
    losses : list of float
        Loss of each update's batch, before the update.
    evaluations : list of Evaluation
        Training-set loss before the first update, on the way, and at the end.
    skipped : int
        Updates that the method gave up.
    """

    name: str
    settings: str
    compile_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    skipped: int = 0

    @property
    def updates(self) -> int:
        """Number of updates done."""
        return len(self.losses)

    @property
    def final(self) -> Evaluation:
        """The last evaluation."""
        return self.evaluations[-1]

    @property
    def lost(self) -> bool:
        """Whether the training-set loss is no longer finite: the run then ended early."""
        return not math.isfinite(self.final.loss)

    @property
    def diverged(self) -> bool:
        """Whether the loss is lost, or ended above where it began."""
        return self.lost or self.final.loss > self.evaluations[0].loss
