"""The application ``kfgn``, assembled from one module per command."""

from __future__ import annotations

import os

import typer

from kfgn_graph._version import __version__
from kfgn_graph.program.allocation import keep_freed_memory
from kfgn_graph.program.cli.bench import bench
from kfgn_graph.program.cli.compare import compare
from kfgn_graph.program.cli.data import data_app
from kfgn_graph.program.cli.doctor import doctor
from kfgn_graph.program.cli.explain import explain
from kfgn_graph.program.cli.presets import show_presets
from kfgn_graph.program.cli.report import report
from kfgn_graph.program.cli.train import resume, train
from kfgn_graph.program.compiled_cache import keep_compiled_programs

app = typer.Typer(
    name="kfgn",
    help="Train networks by practical Gauss-Newton methods, compiled from their graphs.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kfgn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Accept the options of the program itself. The help text is the application's."""


app.add_typer(data_app)
app.command("bench")(bench)
app.command("compare")(compare)
app.command("doctor")(doctor)
app.command("explain")(explain)
app.command("presets")(show_presets)
app.command("report")(report)
app.command("resume")(resume)
app.command("train")(train)


def main() -> None:
    """Run the program."""
    _open_standard_streams()
    keep_freed_memory()
    keep_compiled_programs()
    app()


def _open_standard_streams() -> None:
    """Open standard streams that are closed, so that no file of a run takes their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
