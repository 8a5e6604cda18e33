"""What the building of compiled functions needs: its settings, and variables of known shape."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytensor
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.link.basic import Container
from pytensor.tensor.random.variable import shared_rng
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.type import TensorType

from kfgn_graph.layers.draws import is_generator
from kfgn_graph.overlapping import Overlapping
from kfgn_graph.printing import printable
from kfgn_graph.shared_values import cell_of, value_shape


@contextmanager
def _fast() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        with pytensor.config.change_flags(traceback__limit=0):
            yield
    finally:
        if enabled:
            gc.enable()


#: Disables the garbage collector and PyTensor's creation traces while graphs are built. Cyclic
#: collection takes a fifth of the time, since millions of small objects are made that live on. The
#: traces record the line at which a variable was created; here the lines are the package's own.
#: Variables created before keep their traces.
fast_graph_construction = Overlapping(_fast)


def static_alias(parameter: TensorSharedVariable) -> TensorSharedVariable:
    """Return a variable that shares the parameter's value, with the value's shape in its type."""
    return stored_alias(parameter, TensorType(parameter.type.dtype, value_shape(parameter)))


def stored_alias(
    variable: TensorSharedVariable, alias_type: TensorType | None = None
) -> TensorSharedVariable:
    """Return a variable that shares another's value where it lies.

    Parameters
    ----------
    variable : shared variable
        The other variable.
    alias_type : TensorType, optional
        The type of the alias; by default the variable's.
    """
    alias_type = alias_type or variable.type
    return TensorSharedVariable(
        type=alias_type,
        value=None,
        strict=None,
        container=Container(alias_type, cell_of(variable.container.storage), name=variable.name),
        name=printable(variable.name),
    )


def separate(variable: SharedVariable) -> SharedVariable:
    """Return a variable of the same type and name with a copy of the value."""
    if is_generator(variable):
        return shared_rng(variable.get_value(), name=variable.name)
    return TensorSharedVariable(
        type=variable.type, value=variable.get_value(), strict=False, name=variable.name
    )
