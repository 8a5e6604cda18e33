"""The entry point of ``kfgn``, which names the extra to install where packages are missing."""

from __future__ import annotations

import sys

UNAVAILABLE = 5
"""Exit code for a package that is missing."""


def main() -> None:
    """Run the program, or name the extra to install."""
    try:
        from kfgn_graph.program.cli.app import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "kfgn_graph":
            raise
        sys.stderr.write(
            f"error: kfgn needs the package {error.name}, which is not installed. Install the "
            'program\'s packages: pip install "kfgn_graph[cli]"\n'
        )
        raise SystemExit(UNAVAILABLE) from None
    run()
