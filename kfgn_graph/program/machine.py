"""A record of the machine that a measurement ran on, and writing of results as JSON."""

import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from kfgn_graph.errors import BackendError

PACKAGES = ("kfgn_graph", "pytensor", "numpy", "scipy", "jax", "numba", "pytensor-ml")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "XLA_FLAGS",
)


def machine_record() -> dict[str, object]:
    """Return the processor, the thread settings, the versions of packages, and the command."""
    return {
        "processor": processor_name(),
        "cpus": usable_cpus(),
        "thread_settings": {
            name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ
        },
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "command": command_line(),
    }


def processor_name() -> str:
    """Return the processor's name as the system reports it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def usable_cpus() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def command_line() -> str:
    """Return the command line, with a script's path relative to the checkout."""
    checkout = Path(__file__).resolve().parents[2]
    script = Path(sys.argv[0]).resolve()
    inside = script.relative_to(checkout) if script.is_relative_to(checkout) else script.name
    called = ["python", str(inside)] if script.suffix == ".py" else [script.stem]
    return " ".join([*called, *sys.argv[1:]])


def peak_memory() -> float:
    """Return the peak memory of this process so far: its largest resident set, in MiB.

    Raises
    ------
    BackendError
        The system does not report it; Windows does not.
    """
    try:
        import resource
    except ImportError as error:
        raise BackendError("this system does not report a process's peak memory.") from error
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def write_json(path: Path, record: Mapping[str, object]) -> Path:
    """Write a record atomically as indented JSON and return the path.

    NaN and infinity, which JSON does not have, are written as null.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    text = json.dumps(_finite(record), indent=1, allow_nan=False)
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def _finite(value: object) -> object:
    """Return the value with None in place of every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
