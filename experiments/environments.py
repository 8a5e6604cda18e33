"""Virtual environments of their own for other systems, so that none is a dependency of ours.

A peer is run by a script that imports nothing of this project, in an environment that is made the
first time, kept in the user's cache, and made anew when its requirements change.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PREFERRED = "3.11"
"""The Python version looked for first: every one of the packages has wheels for it."""
TOLD = 2000
"""Characters of a failed script's last words that are told."""


def cache_folder() -> Path:
    """Return the user's cache of the package: ``KFGN_CACHE``, or a folder under the home."""
    named = os.environ.get("KFGN_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "kfgn_graph"


@dataclass(frozen=True)
class Environment:
    """What one peer needs.

    Attributes
    ----------
    name : str
        Of the folder in the cache.
    requirements : tuple of str
        For pip.
    """

    name: str
    requirements: tuple[str, ...]

    def ensure(self, python: str | None = None, folder: Path | None = None) -> Path:
        """Create the environment if it is not complete, and return its interpreter.

        Parameters
        ----------
        python : str, optional
            The interpreter that makes it. By default the first that runs of: Python 3.11 on the
            path, Python 3.11 of pyenv, this very interpreter.
        folder : Path, optional
            Where it lives; in the user's cache by default.

        Raises
        ------
        RuntimeError
            No interpreter, or the packages cannot be installed; pip's last lines are in the
            message.
        """
        folder = folder or cache_folder() / self.name
        interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        stamp = folder / "installed.txt"
        wanted = "\n".join(self.requirements)
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            return interpreter
        shutil.rmtree(folder, ignore_errors=True)
        _run([find_interpreter(python), "-m", "venv", str(folder)])
        _run([str(interpreter), "-m", "pip", "install", "--quiet", *self.requirements])
        stamp.write_text(wanted, encoding="utf-8")
        return interpreter


PYTORCH = Environment(
    "pytorch-environment",
    ("torch==2.13.0", "backpack-for-pytorch==1.7.1", "curvlinops-for-pytorch==3.0.1"),
)
BACKPACK = PYTORCH
"""BackPACK shares its environment with what else runs on PyTorch."""
KFAC_JAX = Environment(
    "kfac-jax-environment",
    ("jax==0.9.0", "jaxlib==0.9.0", "kfac-jax==0.0.8", "numpy", "threadpoolctl"),
)
"""Holds optax as well, which kfac-jax needs."""


def run_script(
    interpreter: Path,
    script: Path,
    arguments: Sequence[str],
    peer: str,
    settings: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run a peer's script in its environment.

    Parameters
    ----------
    interpreter : Path
        Of the environment.
    script : Path
        What to run.
    arguments : sequence of str
        The script's own.
    peer : str
        The library's name, for the error.
    settings : mapping, optional
        Environment variables to set.
    on_line : callable, optional
        Called with every line that the script prints.

    Raises
    ------
    RuntimeError
        It failed; its last words are in the message.
    """
    command = [str(interpreter), str(script), *arguments]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env={**os.environ, **(settings or {})},
        ) as process,
    ):
        for line in process.stdout or ():
            if on_line is not None:
                on_line(line.rstrip())
        if process.wait():
            complaints.seek(0)
            raise RuntimeError(f"{peer}'s side failed:\n{complaints.read()[-TOLD:]}")


def find_interpreter(python: str | None = None) -> str:
    """Return the first interpreter that runs; ``python`` alone when it is given.

    Raises
    ------
    RuntimeError
        None runs.
    """
    candidates = [python] if python else list(_candidates())
    for candidate in candidates:
        try:
            subprocess.run(
                [candidate, "-c", "import venv, ensurepip"], check=True, capture_output=True
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    raise RuntimeError(f"No Python interpreter runs among {candidates}; name one with --python.")


def _candidates() -> Iterator[str]:
    on_path = shutil.which(f"python{PREFERRED}")
    if on_path:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in sorted((pyenv / "versions").glob(f"{PREFERRED}.*"), reverse=True):
        yield str(version / "bin" / "python")
    yield sys.executable


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{tail}")
