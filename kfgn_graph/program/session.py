"""A session of training: what is trained, how far it is, and when it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kfgn_graph.program.building import Task
from kfgn_graph.program.order import DataOrder
from kfgn_graph.program.steps import Step

DEFAULT_EVALUATIONS = 10
LOST_AFTER = 20
"""Losses in a row that are not finite before a run is given up."""


Reason = Literal["updates", "seconds", "interrupted", "diverged"]


@dataclass
class Session:
    """What is trained, where its order is, and how far it is."""

    path: Path
    task: Task
    step: Step
    order: DataOrder
    header: dict[str, Any]
    update: int = 0
    seconds: float = 0.0
    lost: int = 0

    @property
    def limit(self) -> int | None:
        """The last update that the budget allows; None where it counts seconds alone."""
        budget = self.task.spec.budget
        limits = [] if budget.updates is None else [budget.updates]
        if budget.epochs is not None:
            limits.append(max(1, math.ceil(budget.epochs * self.order.batches)))
        return min(limits, default=None)

    @property
    def evaluate_every(self) -> int:
        every = self.task.spec.record.evaluate_every
        if every is not None:
            return every
        if self.limit is None:
            return self.order.batches
        return max(1, self.limit // DEFAULT_EVALUATIONS)

    def ended(self) -> Reason | None:
        """Return why training ends here, if it does."""
        budget = self.task.spec.budget
        if self.lost >= LOST_AFTER:
            return "diverged"
        if self.limit is not None and self.update >= self.limit:
            return "updates"
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return "seconds"
        return None
