"""The state of a training session, and the conditions that end it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kfgn_graph.program.order import DataOrder
from kfgn_graph.program.steps import Step
from kfgn_graph.program.task import Task

DEFAULT_EVALUATIONS = 10
ROUNDING = 1e-12
"""Relative rounding error that must not add an update to a whole number of epochs."""
LOST_AFTER = 20
"""Number of consecutive non-finite losses after which training stops."""


Reason = Literal["updates", "seconds", "interrupted", "diverged", "output"]


@dataclass
class Session:
    """A training session: the task, its compiled step, the order of its data, and its progress.

    Attributes
    ----------
    path : Path
        The run's folder.
    task : Task
        The network or graph, its spec and its data.
    step : Step
        The compiled step.
    order : DataOrder
        The order of the batches.
    header : dict
        The content of the run's ``run.json``.
    update : int
        Number of updates done.
    seconds : float
        Seconds spent on updates, without compilation, summed over all sessions.
    lost : int
        Number of consecutive updates, up to the last, with a loss that is not finite.
    untaken : int
        Number of consecutive updates, up to the last, that were skipped or rejected.
    """

    path: Path
    task: Task
    step: Step
    order: DataOrder
    header: dict[str, Any]
    update: int = 0
    seconds: float = 0.0
    lost: int = 0
    untaken: int = 0

    @property
    def limit(self) -> int | None:
        """Last update that the budget allows; None if it limits seconds only."""
        budget = self.task.spec.budget
        limits = [] if budget.updates is None else [budget.updates]
        if budget.epochs is not None:
            updates = budget.epochs * self.order.updates_per_epoch
            limits.append(max(1, math.ceil(updates * (1 - ROUNDING))))
        return min(limits, default=None)

    @property
    def evaluate_every(self) -> int:
        """Number of updates between evaluations."""
        every = self.task.spec.record.evaluate_every
        if every is not None:
            return every
        if self.limit is None:
            return self.order.batches
        return max(1, self.limit // DEFAULT_EVALUATIONS)

    @property
    def evaluation_due(self) -> bool:
        """Whether an evaluation is due after the last update."""
        return self.update % self.evaluate_every == 0

    def ended(self) -> Reason | None:
        """Return the reason for ending training now, or None to continue."""
        budget = self.task.spec.budget
        if self.lost >= LOST_AFTER:
            return "diverged"
        if self.limit is not None and self.update >= self.limit:
            return "updates"
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return "seconds"
        return None
