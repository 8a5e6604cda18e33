"""The machine and the versions that a measurement was taken on."""

import os
import platform
import sys
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
    """Return the processor, its threads, the versions of the packages and the command.

    Returns
    -------
    dict
        ``processor`` (its name), ``cpus`` (those that this process may use), ``thread_settings``
        (environment variables), ``system``, ``python``, ``versions`` (by package) and
        ``command``. All of it can be written as JSON.
    """
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


def physical_memory() -> int | None:
    """Return the bytes of this machine's memory; None where the system does not report it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
