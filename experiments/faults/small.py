"""A run of seconds, in processes of its own, that the faults happen to."""

import os
import subprocess
import sys
from pathlib import Path

SPEC = """name = "small"
loss = "softmax"
batch = 256
backend = "{backend}"

[network]
hidden = [64, 32]

[data]
name = "digits"

[budget]
updates = {updates}

[record]
evaluate_every = {evaluate}
checkpoint_every = {checkpoint}
"""
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}


def write_spec(
    folder: Path, updates: int, evaluate: int = 500, checkpoint: int = 20, backend: str = "auto"
) -> Path:
    """Write a spec, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.toml"
    values = {
        "updates": updates,
        "evaluate": evaluate,
        "checkpoint": checkpoint,
        "backend": backend,
    }
    path.write_text(SPEC.format(**values), "utf-8")
    return path


def command(*arguments: object) -> list[str]:
    """Return what a user would call, by this interpreter."""
    return [sys.executable, "-m", "kfgn_graph.program", *map(str, arguments)]


def begin(*arguments: object) -> subprocess.Popen[str]:
    """Begin a command in a process of its own."""
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=QUIET | os.environ,
    )


def finish(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        env=QUIET | os.environ,
    )
