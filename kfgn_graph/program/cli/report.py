"""``kfgn report``: an HTML page about runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfgn_graph.program.cli.common import AsJson, RunArguments, console, escape, print_json, told
from kfgn_graph.program.cli.paths import file_named
from kfgn_graph.program.comparison import labels
from kfgn_graph.program.report import PAGE, render
from kfgn_graph.program.runs import read_run

Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="PATH", parser=file_named, help="The file to write."),
]


@told
def report(
    runs: RunArguments, output: Output = Path("report.html"), as_json: AsJson = False
) -> None:
    """Write a self-contained HTML page with the curves, spectra, images and settings of runs."""
    PAGE.check(output)
    content = render([read_run(path) for path in runs], labels(runs)).encode()
    PAGE.write(output, content)
    if as_json:
        print_json({"page": str(output), "runs": len(runs), "bytes": len(content)})
        return
    what = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    size = f"{len(content) / 1e6:.1f} MB"
    console().print(f"{escape(str(output))}: {what}, {size}; open it in a browser")
