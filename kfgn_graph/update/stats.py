"""What an update reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: Statistics that are true or false.
FLAGS = ("skipped", "rejected", "clamped")


class UpdateStats:
    """The statistics of one update; a value is fetched from the device when it is read.

    Those of several updates, from :meth:`Update.many`, are arrays of shape (T,).

    Attributes
    ----------
    loss : float
        The loss on the batch, before the step; penalties within the loss included, ``l2`` not.
    damping, gamma : float
        lambda, and the gamma that damps the factors.
    reduction_ratio : float
        rho; NaN where the update does not measure it.
    step_scale, momentum : float
        What the preconditioned gradient, of the first group of layers, and the last update were
        multiplied with.
    gradient_norm, update_norm : float
        Euclidean norms over all parameters; the update's is 0 where it was not taken.
    skipped : bool
        Whether loss, gradient, curvature or step was not finite: no step, and a greater lambda.
    rejected : bool
        Whether the reduction ratio was too low for the update to be taken.
    clamped : bool
        Whether lambda was raised to what the dtype's precision needs.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(name)
        value = np.asarray(self._values[name]).astype(bool if name in FLAGS else float)
        return value if value.ndim else value.item()

    def as_dict(self) -> dict[str, Any]:
        """Return all statistics, as Python numbers or, of several updates, arrays."""
        return {name: getattr(self, name) for name in self._values}

    def __repr__(self) -> str:
        body = ", ".join(
            f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self.as_dict().items()
        )
        return f"UpdateStats({body})"
