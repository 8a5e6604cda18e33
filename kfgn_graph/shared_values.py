"""Values of shared variables that lie on a device, and read as NumPy arrays.

A shared variable keeps its value in a cell, a list of length 1, from which compiled functions read
it. An update on JAX works on that cell directly, so that the value stays on the device between
updates. :func:`read_on_host` gives the user's variable another cell over the same value, which
copies it to the host when somebody reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from pytensor.link.basic import Container


def is_foreign(value: Any) -> bool:
    """Return whether a value is an array, but not one of NumPy."""
    return hasattr(value, "shape") and not isinstance(value, np.ndarray)


class HostCell(list[Any]):
    """A cell that reads as NumPy, over a cell whose value may lie on a device.

    A value on a device is copied when it is read for the first time; until the next update the
    copy is returned again. The value itself stays where it is.

    Parameters
    ----------
    cell : list
        The cell with the value. Whatever is assigned is stored there.

    Notes
    -----
    C code reads the slot of the list itself, which holds None, and so raises an error instead of
    computing with an old value.
    """

    def __init__(self, cell: list[Any]) -> None:
        super().__init__([None])
        self.cell = cell
        self._read: tuple[Any, Any] = (None, None)

    def __getitem__(self, index: Any) -> Any:
        value = self.cell[index]
        if not is_foreign(value):
            return value
        source, copy = self._read
        if source is not value:
            copy = np.array(value)
            self._read = (value, copy)
        return copy

    def __setitem__(self, index: Any, value: Any) -> None:
        self.cell[index] = value

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [deepcopy(self[0], memo)]

    def __reduce__(self) -> Any:
        return list, ([self[0]],)


class HostContainer(Container):
    """The container of a variable with a :class:`HostCell`.

    A value on a device reads as a read-only array, since a change of the copy would be lost.
    """

    @property
    def value(self) -> Any:
        """The value, as a NumPy array."""
        read = self.storage[0]
        if isinstance(self.storage, HostCell) and is_foreign(self.storage.cell[0]):
            read = read.view()
            read.flags.writeable = False
        return read

    @value.setter
    def value(self, value: Any) -> None:
        Container.value.fset(self, value)

    data = value


def read_on_host(variables: Iterable[SharedVariable], loss: Variable) -> None:
    """Let variables read as NumPy arrays wherever their values lie.

    Functions that are compiled from now on read them so, in every mode whose functions are called
    from Python. Functions that :meth:`Variable.eval` has kept for parts of the loss are dropped,
    since they read the old cells.
    """
    changed = False
    for v in variables:
        container = v.container
        if not isinstance(container.storage, HostCell):
            container.storage = HostCell(container.storage)
            container.__class__ = HostContainer
            changed = True
    if changed:
        for part in ancestors([loss]):
            part.__dict__.pop("_fn_cache", None)


def cell_of(storage: list[Any]) -> list[Any]:
    """Return the cell with the value itself, on whatever device."""
    return storage.cell if isinstance(storage, HostCell) else storage


def stored_value(variable: SharedVariable) -> Any:
    """Return a shared variable's value where it lies, without a copy."""
    return cell_of(variable.container.storage)[0]


def value_shape(variable: SharedVariable) -> tuple[int, ...]:
    """Return the current shape of a shared variable's value, without copying it."""
    return tuple(np.shape(stored_value(variable)))
