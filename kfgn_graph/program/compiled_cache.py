"""The cache of JAX's compiled programs, which makes a second run start faster."""

from __future__ import annotations

import os
import warnings

from kfgn_graph.program.datasets.files import cache_folder

FOLDER_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
SHORTEST_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
SHORTEST = "0.1"
"""Seconds of the shortest compilation whose result is kept."""


def keep_compiled_programs() -> None:
    """Let JAX keep compiled programs in the folder ``jax`` of the user's cache.

    JAX reads the environment variables when it is imported. Variables that the user has set are
    left as they are. Without a folder that can be written, nothing is kept; an entry that cannot
    be written or read is compiled again without a message.
    """
    if FOLDER_VARIABLE in os.environ:
        return
    try:
        folder = cache_folder() / "jax"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    os.environ[FOLDER_VARIABLE] = str(folder.resolve())
    os.environ.setdefault(SHORTEST_VARIABLE, SHORTEST)
    message = "Error (reading|writing) persistent compilation cache entry"
    warnings.filterwarnings("ignore", message)
