"""A network while it is drawn: statements in a vocabulary that NumPy and PyTensor share."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Environment = dict[str, Any]
Statement = Callable[[Any, Environment], Any]


@dataclass(frozen=True)
class Var:
    """A variable of a network, of shape (N, [T,] [d]).

    Attributes
    ----------
    name : str
    length : int
        T, or 0 without that axis.
    width : int
        d, or 0 without that axis.
    """

    name: str
    length: int
    width: int


@dataclass
class Datum:
    """An array that a loss reads.

    Attributes
    ----------
    array : array
        Its value for a batch.
    rows : bool
        Whether its leading axis enumerates the examples.
    """

    array: np.ndarray
    rows: bool


@dataclass
class Drawing:
    """A network and its loss while they are drawn.

    Attributes
    ----------
    rng : random.Random
        The source of the choices.
    count : int
        N, the number of examples.
    dtype : str
        The dtype of the parameters.
    """

    rng: random.Random
    count: int
    dtype: str
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    data: dict[str, Datum] = field(default_factory=dict)
    statements: list[tuple[str, Statement]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numbers = np.random.default_rng(self.rng.getrandbits(64))

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.rng.random() < probability

    def parameter(self, stem: str, *shape: int) -> str:
        """Add a parameter with random values; return its name."""
        name = f"{stem}{len(self.parameters)}"
        values = self.numbers.normal(size=shape) * self.rng.choice([0.5, 0.8, 1.0])
        self.parameters[name] = np.asarray(values, self.dtype)
        return name

    def datum(self, stem: str, array: Any, rows: bool = True) -> str:
        """Add data; return their name."""
        name = f"{stem}{len(self.data)}"
        self.data[name] = Datum(np.asarray(array), rows)
        return name

    def let(self, note: str, length: int, width: int, statement: Statement) -> Var:
        """Add a statement; return its variable."""
        name = f"v{len(self.statements)}"
        self.statements.append((name, statement))
        self.notes.append(f"{name} = {note}")
        return Var(name, length, width)

    def real(self, *shape: int) -> np.ndarray:
        """Return random data in a random floating-point dtype, or whole numbers."""
        kind = self.rng.choice(["same", "same", "same", "float32", "float64", "int64", "int8"])
        values = self.numbers.normal(size=shape)
        if kind.startswith("int"):  # squares of which int8 cannot hold
            return np.round(self.rng.choice([2, 2, 15]) * values).astype(kind)
        return values.astype(self.dtype if kind == "same" else kind)
