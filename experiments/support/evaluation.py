"""Evaluation of a graph as it was written, Op by Op in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.traversal import ancestors


def python_function(inputs: Sequence[Any], outputs: Sequence[Any]) -> Function:
    """Compile a graph that is not rewritten; every call draws the same random numbers."""
    shared = [v for v in ancestors(list(outputs)) if isinstance(v, SharedVariable)]
    held = {v: v for v in shared if v.default_update is not None}
    with pytensor.config.change_flags(cxx=""):  # Ops that hold a graph would be compiled to C
        return pytensor.function(
            list(inputs),
            list(outputs),
            mode=Mode(linker="py", optimizer=None),
            on_unused_input="ignore",
            updates=held,
        )


def evaluated(
    inputs: Sequence[Any], batch: Sequence[np.ndarray], outputs: Sequence[Any]
) -> list[np.ndarray]:
    """Return the values of some variables on a batch."""
    if not outputs:
        return []
    with pytensor.config.change_flags(cxx=""):
        return [np.asarray(v) for v in python_function(inputs, outputs)(*batch)]
