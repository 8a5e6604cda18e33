"""The tables of the study, and its spectra as CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path

from experiments.rank.losses import LOSSES
from experiments.rank.networks import METHODS
from experiments.rank.study import Record


def markdown(ranks: Sequence[Record], mixture: Record) -> str:
    """Return the tables of ranks, of the layer blocks, and of the mixture's Hessian."""
    return "\n".join((_rank_table(ranks), _layer_table(ranks), _mixture_lines(mixture)))


def span(values: Sequence[int]) -> str:
    """Return the range of some whole numbers: one number if they are equal."""
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


def _rank_table(records: Sequence[Record]) -> str:
    headings = (
        "loss | rank(H_L) | examples | rank of Gauss-Newton | bound | with drawn targets | bound"
    )
    lines = [f"| {headings} |", "|---|" + "---:|" * 6]
    keys = dict.fromkeys((record["loss"], record["examples"]) for record in records)
    for name, count in keys:
        rows = [r for r in records if (r["loss"], r["examples"]) == (name, count)]
        cells = (
            name,
            LOSSES[name].rank,
            count,
            span([r["rank"] for r in rows]),
            rows[0]["bound"],
            span([r["sampled_rank"] for r in rows]),
            rows[0]["sampled_bound"],
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _layer_table(records: Sequence[Record]) -> str:
    seed = records[0]["seed"]
    headings = ["loss", "examples", "layer", "side", "bound", "exact block", *METHODS]
    lines = ["| " + " | ".join(headings) + " |", "|---|" + "---:|" * (len(headings) - 1)]
    for record in (r for r in records if r["seed"] == seed):
        for layer, (rank, side) in enumerate(
            zip(record["layer_ranks"], record["layer_sides"], strict=True)
        ):
            bound = min(side, LOSSES[record["loss"]].rank * record["examples"])
            factored = [record["factored_ranks"][method][layer] for method in METHODS]
            cells = (record["loss"], record["examples"], layer + 1, side, bound, rank, *factored)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _mixture_lines(mixture: Record) -> str:
    return (
        f"Mixture, {mixture['examples']} examples one by one: ranks in the three logits of the "
        f"Gauss-Newton matrix {mixture['gauss_newton']}, of the Hessian {mixture['hessian']}; "
        f"{mixture['indefinite']} of the Hessians have a negative eigenvalue.\n"
    )


def write_spectra(records: Sequence[Record], path: Path) -> Path:
    """Write one eigenvalue a line, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["loss", "state", "examples", "layer", "number", "eigenvalue"])
        for record in records:
            key = [record[name] for name in ("loss", "state", "examples", "layer")]
            for number, value in enumerate(record["eigenvalues"], 1):
                writer.writerow([*key, number, f"{value:.3e}"])
    return path
