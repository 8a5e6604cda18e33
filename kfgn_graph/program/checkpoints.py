"""Checkpoints: the complete state of a run in one file, which is verified when it is read.

A checkpoint is a safetensors file. Its metadata contain one JSON text under ``kfgn``: the spec,
the versions, the seed, the position in the data's order, the counters, and a SHA-256 over these
and the tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import kfgn_graph as kfgn
from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.keys import unique_keys
from kfgn_graph.program.machine import physical_memory
from kfgn_graph.program.storage import (
    DRAFT,
    digest,
    file_of_update,
    files_by_update,
    refuse_links,
    write_safely,
    written,
)

FORMAT = "kfgn-checkpoint-1"
KEY = "kfgn"
CHECKPOINTS = "checkpoints"
SUFFIX = ".safetensors"
PARAMETERS = "parameters/"
KINDS = frozenset("BOOL U8 I8 U16 I16 U32 I32 U64 I64 F16 F32 F64".split())
"""The safetensors names of the types that NumPy has as well."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Attributes
    ----------
    header : dict
        Metadata with the keys format, spec, versions, seed, data_sha256, order and counters.
    state : dict of str to ndarray
        State of the step, from :meth:`Step.state`.
    """

    header: dict[str, Any]
    state: dict[str, np.ndarray]


def write_checkpoint(run: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint of a run, then delete all but the newest checkpoints.

    Parameters
    ----------
    run : Path
        The run's folder.
    checkpoint : Checkpoint
        The checkpoint. The file is named after the update in its header.
    keep : int
        Number of checkpoints to keep.

    Raises
    ------
    CheckpointError
        The file cannot be written; earlier checkpoints remain unchanged.
    """
    arrays = {name: np.asarray(a, order="C") for name, a in checkpoint.state.items()}
    header = {"format": FORMAT, **checkpoint.header}
    header["sha256"] = _digest(header, arrays)
    folder = run / CHECKPOINTS
    refuse_links([folder])
    path = file_of_update(folder, checkpoint.header["counters"]["update"], SUFFIX)
    write_safely(path, save(arrays, {KEY: json.dumps(header)}))
    with written(folder):
        for _, old in files_by_update(folder, SUFFIX)[:-keep]:
            old.unlink()
        for draft in folder.glob(f"*{DRAFT}"):
            draft.unlink()
    return path


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint and verify its SHA-256.

    Raises
    ------
    CheckpointError
        The file is missing, truncated, altered or not a checkpoint. The message names the newest
        older checkpoint that is intact.
    """
    path = Path(path)
    try:
        return _read(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error} {_offer(path)}") from error


def load_parameters(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the parameters from a checkpoint, a run's newest one, or a saved update.

    Parameters
    ----------
    path : path
        The file of a checkpoint, the folder of a run, or a file of :meth:`Update.save`.

    Returns
    -------
    dict of str to ndarray
        The parameters by name, each with the shape and dtype that was trained.

    Raises
    ------
    CheckpointError
        There is no such file, or it is truncated or altered.

    Examples
    --------
    >>> parameters = load_parameters("runs/digits-1")  # doctest: +SKIP
    >>> parameters["W0"].shape  # doctest: +SKIP
    (64, 64)
    """
    path = Path(path)
    if path.is_dir():
        newest = newest_checkpoint(path)
        if newest is None:
            raise CheckpointError(f"{path} has no checkpoint: train it first.")
        path = newest
    state = kfgn.Update.read_state(path) if _is_of_update(path) else read_checkpoint(path).state
    return {k.removeprefix(PARAMETERS): v for k, v in state.items() if k.startswith(PARAMETERS)}


def assign_parameters(
    variables: Sequence[SharedVariable], values: Mapping[str, np.ndarray]
) -> None:
    """Set shared variables, such as those of a pytensor-ml model, to values of the same names.

    Parameters
    ----------
    variables : sequence of shared variables
        The variables to set, each with a name.
    values : mapping of str to ndarray
        Values by name, as :func:`load_parameters` returns them; they are copied. Values without
        a variable are ignored.

    Raises
    ------
    CheckpointError
        A variable has no name or no value, or its value has another shape or dtype, or two
        variables have one name. No variable is changed then.
    """
    for variable in variables:
        if sum(v.name == variable.name for v in variables) > 1:
            raise CheckpointError(
                f"{variable.name!r} is the name of two variables, so that their values cannot be "
                "told apart: give each a name."
            )
        if variable.name not in values:
            raise CheckpointError(
                f"no value for {variable.name or 'a variable without a name'}; there are values "
                f"for {', '.join(values)}."
            )
        here, there = variable.get_value(borrow=True), values[variable.name]
        if here.shape != there.shape or here.dtype != there.dtype:
            raise CheckpointError(
                f"{variable.name} is {here.dtype} {tuple(here.shape)}, but its value is "
                f"{there.dtype} {there.shape}: both must belong to the same network."
            )
    for variable in variables:
        variable.set_value(np.array(values[str(variable.name)]), borrow=True)


def newest_checkpoint(run: Path) -> Path | None:
    """Return the path of a run's newest checkpoint, unverified; None if there is none."""
    found = files_by_update(run / CHECKPOINTS, SUFFIX)
    return found[-1][1] if found else None


def _is_of_update(path: Path) -> bool:
    """Return whether a file is a state that :meth:`Update.save` wrote."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            return "format" in (file.metadata() or {})
    except (OSError, SafetensorError, ValueError):  # read_checkpoint says what is wrong
        return False


def _read(path: Path) -> Checkpoint:
    try:
        if not path.is_file():
            raise CheckpointError("there is no such checkpoint.")
        check_size(path.stat().st_size)
        with safe_open(str(path), framework="numpy") as file:
            header = _header((file.metadata() or {}).get(KEY))
            arrays = {name: _entry(file, name) for name in file.keys()}
    except (OSError, SafetensorError, ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"truncated, altered or not a safetensors file ({error}).") from None
    except MemoryError:
        raise CheckpointError("its arrays do not fit into memory.") from None
    found = header.pop("sha256", None)
    if found != _digest(header, arrays):
        raise CheckpointError("altered: its content does not match its SHA-256.")
    return Checkpoint(header, arrays)


def check_size(size: int) -> None:
    """Check that a number of bytes fits into the memory of this machine.

    Raises
    ------
    CheckpointError
        It does not.
    """
    memory = physical_memory()
    if memory is not None and size > memory:
        raise CheckpointError(
            f"its arrays have {size / 1e9:,.1f} GB, more than the {memory / 1e9:,.1f} GB of "
            "memory that this machine has."
        )


def _entry(file: Any, name: str) -> np.ndarray:
    kind = file.get_slice(name).get_dtype()
    if kind not in KINDS:
        raise CheckpointError(
            f"foreign: its entry {name!r} is {kind}, which NumPy does not have and no checkpoint "
            "holds."
        )
    return file.get_tensor(name)


def _header(text: str | None) -> dict[str, Any]:
    try:
        header = None if text is None else json.loads(text, object_pairs_hook=unique_keys)
    except RecursionError:
        raise CheckpointError("altered: its header is nested too deeply.") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"foreign: a safetensors file, but not a checkpoint ({FORMAT}).")
    return header


def _digest(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of a header and arrays, independent of the order of their names."""
    found = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        found.update(f"{name} {digest([arrays[name]])};".encode())
    return found.hexdigest()


def _offer(path: Path) -> str:
    """Return a sentence that names the newest older checkpoint that is intact, if any."""
    older = [p for _, p in files_by_update(path.parent, SUFFIX) if p.name < path.name]
    for candidate in reversed(older):
        try:
            _read(candidate)
        except CheckpointError:
            continue
        return f"An older one is intact: kfgn resume {path.parent.parent} --from {candidate.name}."
    return "No older checkpoint is intact."
