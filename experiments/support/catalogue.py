"""The catalogue: networks as their authors write them, by section and name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pytensor.graph.basic import Variable
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

#: The sections, in order.
SECTIONS = ("blocks", "Theano", "Lasagne", "pytensor-ml", "PyMC", "further")

#: The modules of networks, each with the package that it needs beside PyTensor.
MODULES = {
    "sequences": None,
    "reuse": None,
    "objectives": None,
    "shapes": None,
    "theano": None,
    "lasagne": None,
    "further": None,
    "unlisted": None,
    "pytensor_ml": "pytensor_ml",
    "pytensor_ml_images": "pytensor_ml",
    "pytensor_ml_sequences": "pytensor_ml",
    "pymc": "pymc",
}


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its loss and a batch.

    Attributes
    ----------
    loss : scalar TensorVariable
    parameters : sequence of shared variables
    inputs : sequence of Variable
    batch : sequence of arrays
        A value for each input.
    outputs : sequence of TensorVariable
        The variables at which the loss is split from the network, of any shape: where there are
        several, the Gauss-Newton matrix is that of their concatenation.
    options : mapping
        Arguments of the compiler, such as ``output``.
    """

    loss: TensorVariable
    parameters: Sequence[TensorSharedVariable]
    inputs: Sequence[Variable]
    batch: Sequence[np.ndarray]
    outputs: Sequence[TensorVariable]
    options: Mapping[str, Any] = field(default_factory=dict)


Builder = Callable[[np.random.Generator], Network]


@dataclass(frozen=True)
class Entry:
    """A row of the catalogue: a builder, which draws parameters and a batch."""

    section: str
    name: str
    description: str
    builder: Builder

    def build(self) -> Network:
        """Return the network, with the same numbers at each call."""
        return self.builder(np.random.default_rng(1))


_ENTRIES: dict[str, Entry] = {}


def section(title: str) -> Callable[[str, str], Callable[[Builder], Builder]]:
    """Return the decorator that enters a builder into a section: ``@network(name, text)``."""

    def network(name: str, description: str) -> Callable[[Builder], Builder]:
        def enter(builder: Builder) -> Builder:
            if name in _ENTRIES:
                raise ValueError(f"two networks have the name {name!r}")
            _ENTRIES[name] = Entry(title, name, description, builder)
            return builder

        return enter

    return network


def missing_packages() -> set[str]:
    """Return the packages that some networks need and that are not installed."""
    packages = {package for package in MODULES.values() if package is not None}
    return {package for package in packages if importlib.util.find_spec(package) is None}


def catalogue() -> dict[str, Entry]:
    """Return all networks by name, in order, except those of a package that is not installed."""
    missing = missing_packages()
    for module, package in MODULES.items():
        if package not in missing:
            importlib.import_module(f"experiments.support.networks.{module}")
    return dict(sorted(_ENTRIES.items(), key=lambda item: SECTIONS.index(item[1].section)))
