"""What this machine offers: backends that really compile, BLAS, threads and GPUs."""

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
    """Whether a backend compiles and computes here.

    Attributes
    ----------
    name : str
        Of ``BACKENDS``.
    problem : str or None
        Why it cannot be used, with the remedy; None where it can.
    devices : tuple of str
        Where it computes, as ``"cpu"``.
    seconds : float or None
        How long compiling a product took, with whatever was in the caches; None where it failed.
    """

    name: str
    problem: str | None
    devices: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class Library:
    """A library with threads of its own that is loaded here.

    Attributes
    ----------
    kind : str
        As ``"openblas"``.
    version : str or None
        Its own.
    threads : int
        How many it uses.
    owner : str
        The package whose file it is, or its folder.
    """

    kind: str
    version: str | None
    threads: int
    owner: str


def check_backend(name: str) -> BackendCheck:
    """Compile a product with a backend, run it, and compare the result."""
    start = perf_counter()
    try:
        with warnings.catch_warnings():  # of PyTensor's own BLAS, which the C backend replaces
            warnings.simplefilter("ignore")
            devices = _computed_on(name)
    except BackendError as error:
        return BackendCheck(name, str(error))
    except Exception as error:
        line = str(error).strip().splitlines()[:1]
        return BackendCheck(name, ": ".join([f"it fails with {type(error).__name__}", *line]))
    return BackendCheck(name, None, devices, perf_counter() - start)


def _computed_on(name: str) -> tuple[str, ...]:
    """Return the devices that hold a product once a function of this backend has computed it."""
    unit = np.eye(2, dtype="float32")
    W, x = pytensor.shared(unit, name="W"), pt.matrix("x", shape=(None, 2), dtype="float32")
    update = kfgn.compile_update(((x @ W) ** 2).sum(axis=1).mean(), [W], [x], backend=name)
    product = pytensor.shared(2 * unit)
    pytensor.function([], updates={product: product @ product}, mode=update.mode)()
    if not np.array_equal(product.get_value(), 4 * unit):
        raise BackendError(f"the backend {name} computes wrongly: 2 I times 2 I is not 4 I.")
    kept = product.get_value(borrow=True, return_internal_type=True)
    if not hasattr(kept, "devices"):
        return ("cpu",)
    return tuple(sorted({_device_name(device) for device in kept.devices()}))


def _device_name(device: Any) -> str:
    """Return a JAX device's name: its platform, and what it is where that says more."""
    if device.device_kind == device.platform:
        return str(device.platform)
    return f"{device.platform} ({device.device_kind})"


def libraries() -> list[Library]:
    """Return the loaded libraries of linear algebra and of threads."""
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
    """Return the package that brought a library: ``numpy`` of ``numpy.libs``, or its folder."""
    for folder, parent in zip(library.parts[1:], library.parts, strict=False):
        if parent == "site-packages":
            return folder.split(".")[0]
    return str(library.parent)


def graphics_cards() -> list[str]:
    """Return the names of NVIDIA's cards, or why their driver does not tell them.

    Empty where there is no driver.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return [f"unknown, since nvidia-smi fails: {error}"]
    return [line.strip() for line in told.stdout.splitlines() if line.strip()]


def compiler() -> str | None:
    """Return the C++ compiler that PyTensor has found, where it is still there."""
    command = str(pytensor.config.cxx)
    return command if command and shutil.which(command.split()[0]) else None
