"""The pictures of the study: ranks against their bounds, spectra of the layer blocks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.rank.study import Record

EXACT, SAMPLED = "#0b6fa4", "#d1662a"
COUNT_COLOURS = ("#8a4f9e", "#0b6fa4", "#3a7d44")
FLOOR = 1e-16


def draw_ranks(records: Sequence[Record], path: Path) -> Path:
    """Draw, for each loss, the ranks of all seeds against the number of examples."""
    names = list(dict.fromkeys(record["loss"] for record in records))
    figure = Figure(figsize=(3.6 * len(names) + 0.4, 3.9), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _draw_loss(axes, [record for record in records if record["loss"] == name])
        axes.set(title=name, xlabel="examples")
    panels[0].set_ylabel("rank")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _draw_loss(axes: Axes, records: Sequence[Record]) -> None:
    counts = sorted({record["examples"] for record in records})
    first = {record["examples"]: record for record in records}
    axes.plot(
        counts, [first[n]["bound"] for n in counts], color=EXACT, label="rank(H_L) x examples"
    )
    axes.plot(
        counts,
        [first[n]["sampled_bound"] for n in counts],
        color=SAMPLED,
        linestyle="--",
        label="1 x examples",
    )
    at = [record["examples"] for record in records]
    axes.plot(at, [r["rank"] for r in records], "o", color=EXACT, label="Gauss-Newton", alpha=0.6)
    axes.plot(
        at,
        [r["sampled_rank"] for r in records],
        "x",
        color=SAMPLED,
        label="one drawn target per example",
    )
    axes.axhline(records[0]["parameters"], color="#8c8c8c", linewidth=1, label="parameters")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.grid(alpha=0.3)


def draw_spectra(records: Sequence[Record], path: Path) -> Path:
    """Draw the eigenvalues of each layer block relative to its largest, and the rank's bound."""
    names = list(dict.fromkeys(record["loss"] for record in records))
    layers = sorted({record["layer"] for record in records})
    figure = Figure(figsize=(4.2 * len(layers), 3.1 * len(names) + 0.6), layout="constrained")
    panels = figure.subplots(len(names), len(layers), squeeze=False, sharey=True)
    counts = sorted({record["examples"] for record in records})
    colours = dict(zip(counts, COUNT_COLOURS, strict=False))
    for row, name in zip(panels, names, strict=True):
        for axes, layer in zip(row, layers, strict=True):
            chosen = [r for r in records if r["loss"] == name and r["layer"] == layer]
            for record in chosen:
                _draw_spectrum(axes, record, colours[record["examples"]])
            axes.set(title=f"{name}, layer {layer} (side {chosen[0]['side']})", yscale="log")
            axes.grid(alpha=0.3)
        row[0].set_ylabel("eigenvalue / largest")
    for axes in panels[-1]:
        axes.set_xlabel("number of the eigenvalue")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path


def _draw_spectrum(axes: Axes, record: Record, colour: str) -> None:
    values = np.array(record["eigenvalues"])
    relative = np.maximum(values / values[0], FLOOR)
    trained = record["state"] == "trained"
    axes.plot(
        range(1, len(values) + 1),
        relative,
        color=colour,
        linestyle="-" if trained else ":",
        label=f"{record['examples']} examples, {record['state']}",
    )
    if record["bound"] < record["side"]:
        axes.axvline(record["bound"], color=colour, linewidth=0.8, alpha=0.6)
    axes.set_xscale("log")
