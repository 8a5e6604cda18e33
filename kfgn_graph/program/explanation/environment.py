"""Tests of this machine's backends, and its BLAS libraries, threads, GPUs and compiler."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from threadpoolctl import ThreadpoolController

import kfgn_graph as kfgn
from kfgn_graph.errors import BackendError

BACKENDS = ("jax", "numba", "c")


@dataclass(frozen=True)
class BackendCheck:
    """The result of compiling and running a product with a backend.

    Attributes
    ----------
    name : str
        One of ``BACKENDS``.
    problem : str or None
        The reason why it cannot be used, with the remedy; None if it can.
    devices : tuple of str
        The devices that it computes on, such as ``"cpu"``.
    seconds : float or None
        The time to compile the product, which depends on the disk caches; None if it failed.
    """

    name: str
    problem: str | None
    devices: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class Library:
    """A loaded library that has a thread pool.

    Attributes
    ----------
    kind : str
        The kind of library, such as ``"openblas"``.
    version : str or None
        The version of the library.
    threads : int
        The number of threads.
    owner : str
        The package that contains the file, or the folder of the file.
    """

    kind: str
    version: str | None
    threads: int
    owner: str


def check_backend(name: str) -> BackendCheck:
    """Compile a product with a backend, run it, and compare the result."""
    start = perf_counter()
    try:
        with warnings.catch_warnings():  # about PyTensor's own BLAS, which the C backend replaces
            warnings.simplefilter("ignore")
            devices = _computed_on(name)
    except BackendError as error:
        return BackendCheck(name, str(error))
    except Exception as error:
        line = str(error).strip().splitlines()[:1]
        return BackendCheck(name, ": ".join([f"it fails with {type(error).__name__}", *line]))
    return BackendCheck(name, None, devices, perf_counter() - start)


def c_blas_flags() -> str:
    """Return the flags of the BLAS that the C backend links; empty where it cannot be used."""
    W, x = pytensor.shared(np.eye(2), name="W"), pt.matrix("x")
    try:
        update = kfgn.compile_update(((x @ W) ** 2).sum(axis=1).mean(), [W], [x], backend="c")
    except BackendError:
        return ""
    return str(getattr(update.mode, "blas_flags", ""))


def _computed_on(name: str) -> tuple[str, ...]:
    """Return the devices on which a function of a backend leaves its result."""
    unit = np.eye(2, dtype="float32")
    W, x = pytensor.shared(unit, name="W"), pt.matrix("x", shape=(None, 2), dtype="float32")
    update = kfgn.compile_update(((x @ W) ** 2).sum(axis=1).mean(), [W], [x], backend=name)
    product = pytensor.shared(2 * unit)
    pytensor.function([], updates={product: product @ product}, mode=update.mode)()
    if not np.array_equal(product.get_value(), 4 * unit):
        raise BackendError(f"the backend {name} gives wrong results: 2 I times 2 I is not 4 I.")
    kept = product.get_value(borrow=True, return_internal_type=True)
    if not hasattr(kept, "devices"):
        return ("cpu",)
    return tuple(sorted({_device_name(device) for device in kept.devices()}))


def _device_name(device: Any) -> str:
    """Return a JAX device's platform, and its kind if that adds information."""
    if device.device_kind == device.platform:
        return str(device.platform)
    return f"{device.platform} ({device.device_kind})"


def libraries() -> list[Library]:
    """Return the loaded libraries for linear algebra and threading."""
    return [
        Library(
            str(found["internal_api"]),
            found["version"],
            int(found["num_threads"]),
            _owner(Path(found["filepath"])),
        )
        for found in ThreadpoolController().info()
    ]


def _owner(library: Path) -> str:
    """Return the package that contains a library, ``numpy`` for ``numpy.libs``, or its folder."""
    for folder, parent in zip(library.parts[1:], library.parts, strict=False):
        if parent == "site-packages":
            return folder.split(".")[0]
    return str(library.parent)


def graphics_cards() -> list[str]:
    """Return the names of NVIDIA graphics cards, or the error of the driver.

    The list is empty if there is no driver.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return [f"unknown, because nvidia-smi fails: {error}"]
    return [line.strip() for line in told.stdout.splitlines() if line.strip()]


def compiler() -> str | None:
    """Return the command of PyTensor's C++ compiler, or None if it does not exist."""
    command = str(pytensor.config.cxx)
    return command if command and shutil.which(command.split()[0]) else None
