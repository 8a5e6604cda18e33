"""A virtual environment of its own for BackPACK, so that PyTorch is no dependency of ours."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from experiments.datasets.files import cache_folder

REQUIREMENTS = ("torch==2.13.0", "backpack-for-pytorch==1.7.1")
PREFERRED = "3.11"
"""The Python version looked for first: every one of these packages has wheels for it."""


def ensure_environment(python: str | None = None, folder: Path | None = None) -> Path:
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
        No interpreter, or the packages cannot be installed; pip's last lines are in the message.
    """
    folder = folder or cache_folder() / "backpack-environment"
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed.txt"
    wanted = "\n".join(REQUIREMENTS)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    _run([find_interpreter(python), "-m", "venv", str(folder)])
    _run([str(interpreter), "-m", "pip", "install", "--quiet", *REQUIREMENTS])
    stamp.write_text(wanted, encoding="utf-8")
    return interpreter


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
