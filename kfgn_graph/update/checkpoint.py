"""Saving and restoring everything that persists, as safetensors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kfgn_graph.errors import CheckpointError

FORMAT = "kfgn_graph-1"


def save_state(state: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Write arrays to ``path``, atomically: a reader sees the old file or the new one.

    Parameters
    ----------
    state : mapping of str to ndarray
        What to write.
    path : path
        The file; its folder must exist.

    Raises
    ------
    CheckpointError
        If the file cannot be written; an older file at ``path`` is left as it was.
    """
    target = Path(path)
    data = save({name: np.asarray(a, order="C") for name, a in state.items()}, {"format": FORMAT})
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=target.name, delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write the state to {target}: {error}.") from error


def read_state(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read arrays that :func:`save_state` wrote.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, altered in its header, or not one of ours.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            if (file.metadata() or {}).get("format") != FORMAT:
                raise CheckpointError(f"{path} is not a state saved by kfgn_graph ({FORMAT}).")
            return {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read a state from {path}: {error}.") from error
