"""The table that the autoencoder's runs are shown in."""

from collections.abc import Sequence

from rich.table import Table

from experiments.runs import Run


def results_table(runs: Sequence[Run], floor: float, dataset: str) -> Table:
    """Tabulate what each method reached; losses in nats."""
    table = Table(title=f"Autoencoder on {dataset}: training-set cross-entropy, nats")
    table.add_column("method")
    table.add_column("settings")
    headings = ("updates", "seconds", "compile s", "loss", "above floor")
    for heading in headings:
        table.add_column(heading, justify="right")
    for run in runs:
        table.add_row(
            run.name,
            run.settings,
            str(run.updates),
            f"{run.final.seconds:.1f}",
            f"{run.compile_seconds:.1f}",
            f"{run.final.loss:.2f}",
            f"{run.final.loss - floor:.2f}",
        )
    return table
