"""The arrays that a spec trains on, from a built-in data set or from a file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kfgn_graph.errors import SpecError
from kfgn_graph.program.archives import Archive, Unreadable
from kfgn_graph.program.catalogue import load_data
from kfgn_graph.program.datasets import DataCorrupt, DataNotFound
from kfgn_graph.program.datasets.mnist import read_idx
from kfgn_graph.program.naming import NETWORK, check_order, order_of
from kfgn_graph.program.scaling import Scaling, standardised
from kfgn_graph.program.spec.complaints import did_you_mean
from kfgn_graph.program.spec.models import DataSpec, kind_of
from kfgn_graph.program.tables import read_table

BUILT_IN = ("the inputs", "the targets")
"""Names of the arrays of a built-in data set, for messages."""


@dataclass(frozen=True)
class Source:
    """Arrays with one example per row, and their origin.

    Attributes
    ----------
    arrays : tuple of ndarray
        The arrays, in the order of the loss's inputs.
    origin : str
        Origin of the arrays, for messages and the run's header.
    names : tuple of str
        Names of the arrays of a file; empty for a built-in data set.
    scalings : tuple of Scaling or None
        Mean and deviation with which each array was standardised; None for an array that was not.
    classes : tuple of str
        The texts that the targets number, where a table has text there.
    """

    arrays: tuple[np.ndarray, ...]
    origin: str
    names: tuple[str, ...] = ()
    scalings: tuple[Scaling | None, ...] = ()
    classes: tuple[str, ...] = ()


def load_source(
    data: DataSpec,
    folder: Path,
    inputs: Sequence[str | None] | None = None,
    numbers: Collection[int] = (),
) -> Source:
    """Load the arrays that a spec's ``data`` names.

    Parameters
    ----------
    data : DataSpec
        The data to load.
    folder : Path
        Base folder of a relative file name.
    inputs : sequence of str or None, optional
        Names of the loss's inputs, by which the arrays of a file are ordered; without them, the
        arrays keep the order of the file.
    numbers : collection of int
        Indices of the arrays of a file that are standardised even if they are whole numbers.

    Raises
    ------
    SpecError
        The data have fewer examples than the spec needs, lack an array that it names, or the
        names of a file's arrays do not determine their order.
    DataError
        The data are not found or damaged.
    """
    source = _from_file(data, folder) if data.file else _known(data)
    if data.file and inputs is not None:
        source = _ordered(source, data.arrays, inputs, folder / data.file)
    count = len(source.arrays[0])
    if data.examples is not None and data.examples > count:
        raise SpecError(f"data.examples: found {data.examples}; there are only {count} examples.")
    arrays = tuple(array[: data.examples] for array in source.arrays)
    scalings: tuple[Scaling | None, ...] = (None,) * len(arrays)
    if data.standardise:
        names = source.names or BUILT_IN[: len(arrays)]
        arrays, scalings = standardised(arrays, names, numbers if data.file else ())
    return Source(arrays, source.origin, source.names, scalings, source.classes)


def _ordered(
    source: Source, given: Sequence[str], inputs: Sequence[str | None], path: Path
) -> Source:
    """Return arrays in the order of the loss's inputs, or check the order that the spec gives."""
    if given:
        check_order(given, inputs, str(path))
        return source
    if inputs is NETWORK and len(source.names) > len(NETWORK):
        return source  # refused where the network is built
    names = order_of(source.names, inputs, str(path))
    arrays = tuple(source.arrays[source.names.index(name)] for name in names)
    origin = source.origin
    if kind_of(path.name) == "arrays":
        origin = f"{path}, arrays {', '.join(names)}"
    return Source(arrays, origin, tuple(names), classes=source.classes)


def _known(data: DataSpec) -> Source:
    try:
        found = load_data(f"{data.name}/{data.table}" if data.table else str(data.name))
    except DataNotFound as error:
        raise DataNotFound(error.brief) from error
    arrays = (found.inputs,) if found.targets is None else (found.inputs, found.targets)
    return Source(arrays, found.source)


def _from_file(data: DataSpec, folder: Path) -> Source:
    """Read the arrays of a file, by its kind."""
    path = folder / str(data.file)
    _check_file(path, "file")
    kind = kind_of(path.name)
    if kind == "arrays":
        return _read(path, data.arrays)
    if kind == "table":
        return _from_table(path, data)
    arrays = {"inputs": _one_array(path)}
    origin = str(path)
    if data.targets is not None:
        other = folder / data.targets
        _check_file(other, "targets")
        arrays["targets"] = _one_array(other)
        origin += f", {other}"
    _check(path, arrays)
    return Source(tuple(arrays.values()), origin, tuple(arrays))


def _check_file(path: Path, key: str) -> None:
    try:
        there = path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or a folder without access
        raise DataNotFound(f"{path} cannot be read ({error}).") from error
    if not there:
        raise DataNotFound(f"{path} is not a file; data.{key} is relative to the spec's folder.")


def _one_array(path: Path) -> np.ndarray:
    """Return the array of a .npy file, mapped into memory, or of an idx file."""
    if kind_of(path.name) == "idx":
        return read_idx(path)
    if kind_of(path.name) != "array":
        raise SpecError(f"data.targets: {path} must be a .npy or an idx file.")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataCorrupt(f"{path} is not a readable .npy file of numbers ({error}).") from error


def _from_table(path: Path, data: DataSpec) -> Source:
    """Return examples and targets of a table."""
    table = read_table(path, data.target, data.columns, data.categorical)
    arrays = {"inputs": table.inputs}
    origin = f"{path}, columns {', '.join(table.names)}"
    if table.targets is not None:
        arrays["targets"] = table.targets
        origin += f"; target {data.target}"
    return Source(tuple(arrays.values()), origin, tuple(arrays), classes=table.classes)


def _read(path: Path, names: list[str]) -> Source:
    """Read arrays of numbers from an .npz file."""
    try:
        with Archive(path) as content:
            held = content.names
            for name in names:
                if name not in held:
                    near = did_you_mean(name, held) or "."
                    raise SpecError(
                        f"data.arrays: no array {name!r} in {path}{near} "
                        f"The file has {', '.join(held)}."
                    )
            found = {name: content[name] for name in names or held}
    except Unreadable as e:
        raise DataCorrupt(
            f"{path} is not a readable .npz file of numbers ({e}). Write it with numpy.savez."
        ) from e
    _check(path, found)
    named = names or list(found)  # one array may be named twice, as input and as target
    origin = f"{path}, arrays {', '.join(named)}"
    return Source(tuple(found[name] for name in named), origin, tuple(named))


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if not arrays:
        raise DataCorrupt(f"{path} holds no arrays.")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise DataCorrupt(f"{path}: {name} is {array.dtype}; it must be real numbers.")
        if array.ndim == 0 or array.size == 0:
            raise DataCorrupt(f"{path}: {name} has the shape {array.shape}: no examples.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise DataCorrupt(f"{path}: {name} is not finite at {place}. Remove the example.")
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataCorrupt(f"{path}: arrays have different numbers of examples: {lengths}.")
