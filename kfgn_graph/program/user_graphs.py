"""Graphs from the user's own functions, named ``package.module:function`` in a spec."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import SpecError
from kfgn_graph.program.representing import column_text, first_lost
from kfgn_graph.program.spec.complaints import did_you_mean

Graph = tuple[
    TensorVariable,
    tuple[SharedVariable, ...],
    tuple[TensorVariable, ...],
    TensorVariable | None,
]
SEED = "seed"


class _Refused(SpecError):
    """What the user's function returned is not a graph."""


def load_graph(place: str, folder: Path, seed: int = 0) -> Graph:
    """Call the user's function and check the graph that it returns.

    Parameters
    ----------
    place : str
        ``package.module:function``.
    folder : Path
        The spec's folder, which is searched for the module first.
    seed : int
        Argument of the function, if it has a parameter named ``seed``.

    Returns
    -------
    loss : scalar variable
    parameters : tuple of shared variables
    inputs : tuple of variables
    output : variable or None
        The variable at which the loss is split from the network, if the function returns it.

    Raises
    ------
    SpecError
        The function cannot be imported, raises an error, or returns anything else.
    """
    function = _function(place, folder)
    try:
        with importable(folder):
            returned = function(seed=seed) if _takes_seed(function) else function()
            return _checked(place, returned)
    except (KeyboardInterrupt, _Refused):
        raise
    except BaseException as error:  # SystemExit and GeneratorExit too: they are the module's
        raise SpecError(f"graph: {place} raised {_told(error)}.") from error


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Put a folder first on the import path while the block runs, which executes its modules.

    Afterwards the working folder is the one from before, whatever the modules did, since the paths
    of a run are relative to it. No bytecode is written.
    """
    entry, quiet = str(folder), sys.dont_write_bytecode
    try:
        here = os.getcwd()
    except OSError:  # the folder has been deleted
        here = None
    sys.path.insert(0, entry)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = quiet
        with suppress(ValueError):  # a module has removed it
            sys.path.remove(entry)
        if here is not None:
            os.chdir(here)


def _function(place: str, folder: Path) -> Callable[..., Any]:
    module_name, _, name = place.partition(":")
    try:
        with importable(folder):
            importlib.invalidate_caches()
            module = importlib.import_module(module_name)
            function = getattr(module, name, None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise SpecError(
            f"graph: {module_name} cannot be imported: {_told(error)}. The import searches "
            f"{folder}, then Python's own path."
        ) from error
    if not callable(function):
        known = [
            word for word, value in getattr(module, "__dict__", {}).items() if callable(value)
        ]
        near = did_you_mean(name, known) or "."
        where = getattr(module, "__file__", None) or module_name
        raise SpecError(f"graph: {where} has no function {name}{near}")
    return function


def _takes_seed(function: Callable[..., Any]) -> bool:
    try:
        return SEED in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function of C without a signature
        return False


def _checked(place: str, returned: object) -> Graph:
    if not isinstance(returned, tuple | list) or len(returned) not in (3, 4):
        raise _Refused(
            f"graph: {place} returned a {type(returned).__name__}; it must return a tuple of "
            "three: loss, parameters, inputs; or of four, with the output."
        )
    loss, parameters, inputs = returned[:3]
    output = returned[3] if len(returned) == 4 else None
    if not isinstance(loss, TensorVariable) or loss.ndim != 0:
        raise _Refused(
            f"graph: the loss of {place} is {_shown(loss)}; it must be a scalar variable."
        )
    _check_list(place, "parameters", parameters, SharedVariable)
    _check_list(place, "inputs", inputs, TensorVariable)
    if output is not None and not isinstance(output, TensorVariable):
        raise _Refused(f"graph: the output of {place} is {_shown(output)}; it must be a variable.")
    return loss, tuple(parameters), tuple(inputs), output


def _check_list(place: str, what: str, found: object, kind: type) -> None:
    good = isinstance(found, Sequence) and found and all(isinstance(v, kind) for v in found)
    if not good:
        name = "shared variables" if kind is SharedVariable else "variables"
        raise _Refused(
            f"graph: the {what} of {place} are {_shown(found)}; expected a list of {name}."
        )


def fitted(arrays: Sequence[np.ndarray], inputs: Sequence[TensorVariable]) -> tuple[Any, ...]:
    """Return arrays converted to the dtypes of the graph's inputs.

    Raises
    ------
    SpecError
        There are too few arrays, or the shape, the kind of numbers or a value of an array does
        not fit its input.
    """
    if len(arrays) < len(inputs):
        raise SpecError(
            f"data: there are {len(arrays)} arrays; the graph has {len(inputs)} inputs."
        )
    return tuple(_fitted(array, v) for array, v in zip(arrays, inputs, strict=False))


def _fitted(array: np.ndarray, variable: TensorVariable) -> np.ndarray:
    widths = zip(array.shape[1:], variable.type.shape[1:], strict=False)
    if array.ndim != variable.ndim or any(w not in (n, None) for n, w in widths):
        wanted = tuple("any" if n is None else n for n in variable.type.shape)
        raise SpecError(
            f"data: the array for the input {variable.name} has the shape {array.shape}; the "
            f"graph needs {wanted}."
        )
    if array.dtype.kind == "f" and np.dtype(variable.dtype).kind != "f":
        raise SpecError(
            f"data: the input {variable.name} needs {variable.dtype}; its array is {array.dtype}."
        )
    return _converted(array, variable)


def _converted(array: np.ndarray, variable: TensorVariable) -> np.ndarray:
    """Return an array in the dtype of an input, which must represent each of its values.

    Whole numbers and truth values must be exact, floats must stay finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = array.astype(variable.dtype, copy=False)
    if found is array:
        return found
    if found.dtype.kind in "fc":
        wrong = np.isfinite(array) & ~np.isfinite(found)
    else:  # signs are compared too, since int64 and uint64 compare as floats
        wrong = (found != array) | ((found < 0) != (array < 0))
    lost = None if wrong.any() else first_lost(array, variable.dtype)
    if lost is not None:
        raise SpecError(
            f"data: the input {variable.name} is {variable.dtype}, in which the numbers in "
            f"{column_text(lost, 'its array')} are zero, since they are too small. Choose another "
            "unit, set data.standardise, or give the input a wider dtype."
        )
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise SpecError(
            f"data: the input {variable.name} is {variable.dtype}, which does not represent "
            f"{array[place]}, the value of its array at {place}. Change the data, or give the "
            "input a wider dtype."
        )
    return found


def _told(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # the error's own class cannot write it
        text = ""
    return f"{type(error).__name__}: {text}".rstrip(".: ")


def _shown(value: object) -> str:
    try:
        return f"{value!r}"
    except Exception:
        return object.__repr__(value)
