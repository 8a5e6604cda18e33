"""Compare the Kronecker factors with BackPACK's, same network, weights and batch, float64.

``python experiments/validation/backpack_factors.py`` makes BackPACK's environment, lets it compute
the KFRA and KFLR factors of every case, computes ours and prints the largest difference by loss,
method and activation. BackPACK treats weight and bias as separate blocks: its factors of the
weight are compared with our G and with our Q without its last row and column (the bias's), its
factor of the bias with our G times that last diagonal entry, which is 1. Exits with 1 where the
difference exceeds the tolerance.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import pytensor
import pytensor.tensor as pt
import typer
from pytensor.compile.mode import Mode
from pytensor.tensor.special import log_softmax

if not __package__:  # run as a script: make the checkout importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import kfgn_graph as kfgn
from experiments.environments import BACKPACK, run_script
from experiments.records import write_json
from experiments.validation.cases import Case, all_cases, write_cases

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "validation" / "backpack_factors.json"
PLAIN = Mode(linker="py", optimizer=None)  # Op by Op in Python: compiles in no time
ACTIVATIONS = {"tanh": pt.tanh, "relu": lambda h: pt.maximum(h, 0), "sigmoid": pt.sigmoid}
METHODS = {"kfra": kfgn.KFRA, "kflr": kfgn.KFLR}
CONSTANTS = {"squared": 1.0, "softmax": 1.0}
"""Our G over BackPACK's, a loss: both give the curvature of the loss itself."""
TOLERANCE = 1e-12


@dataclass(frozen=True)
class Difference:
    """One factor's agreement.

    Attributes
    ----------
    loss, method, activation : str
        Of the case.
    case, layer, part : str
        Which factor.
    ratio : float
        Ours over BackPACK's, by least squares.
    difference : float
        Largest |ours - constant * BackPACK's| over the largest |BackPACK's|.
    """

    loss: str
    method: str
    activation: str
    case: str
    layer: str
    part: str
    ratio: float
    difference: float


def our_factors(case: Case, method: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (Q, G) of each layer, forward order, from an ordinary PyTensor graph.

    The losses are those of ``torch.nn.MSELoss`` and ``CrossEntropyLoss`` as they come: mean over
    all elements, and mean over the batch.
    """
    x, parameters = pt.dmatrix("x"), []
    output = x
    for index, (weight, bias) in enumerate(zip(case.weights, case.biases, strict=True)):
        parameters += [pytensor.shared(weight, f"W{index}"), pytensor.shared(bias, f"b{index}")]
        hidden = ACTIVATIONS[case.activation](output) if index else output
        output = hidden @ parameters[-2] + parameters[-1]
    if case.loss == "squared":
        y = pt.dmatrix("y")
        loss = pt.mean((output - y) ** 2)
    else:
        y = pt.lvector("y")
        loss = -pt.mean(log_softmax(output, axis=1)[pt.arange(y.shape[0]), y])
    graph = kfgn.trace_layers(loss, parameters)
    found = kfgn.curvature_factors(graph, METHODS[method]())
    blocks = [cast(kfgn.KroneckerFactors, found[layer]) for layer in graph.layers]
    symbolic = [factor for block in blocks for factor in (block.Q, block.G)]
    compiled = pytensor.function([x, y], symbolic, mode=PLAIN, on_unused_input="ignore")
    values = compiled(case.x, case.y)
    return list(zip(values[::2], values[1::2], strict=True))


def compare(case: Case, theirs: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    """Yield the agreement of every factor of a case."""
    constant = CONSTANTS[case.loss]
    for method in METHODS:
        for index, (q, g) in enumerate(our_factors(case, method)):
            pairs = {
                "weight_Q": (q[:-1, :-1], 1.0),
                "weight_G": (g, constant),
                "bias_G": (g * q[-1, -1], constant),
            }
            for part, (ours, expected) in pairs.items():
                other = theirs[f"{case.name}/{method}/{index}/{part}"]
                yield Difference(
                    case.loss,
                    method,
                    case.activation,
                    case.name,
                    str(index),
                    part,
                    float(np.vdot(other, ours) / np.vdot(other, other)),
                    float(np.max(np.abs(ours - expected * other)) / np.max(np.abs(other))),
                )


def backpack_factors(
    cases: Sequence[Case], python: str | None, environment: Path | None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Let BackPACK compute its factors; return them by name, and its versions.

    Raises
    ------
    RuntimeError
        The environment cannot be made, or BackPACK's side failed.
    """
    interpreter = BACKPACK.ensure(python, environment)
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "cases.npz", Path(folder) / "factors.npz"
        write_cases(list(cases), asked)
        script = Path(__file__).with_name("backpack_side.py")
        run_script(interpreter, script, [str(asked), str(answer)], "BackPACK")
        with np.load(answer) as arrays:
            factors = {name: arrays[name] for name in arrays.files}
    return factors, json.loads(str(factors.pop("versions")))


def summary(differences: Sequence[Difference]) -> list[dict[str, object]]:
    """Return the worst difference and the ratios of G by loss, method and activation."""

    def key(d: Difference) -> tuple[str, str, str]:
        return d.loss, d.method, d.activation

    rows: list[dict[str, object]] = []
    for (loss, method, activation), group in groupby(sorted(differences, key=key), key):
        members = list(group)
        ratios = [d.ratio for d in members if d.part != "weight_Q"]
        rows.append(
            {
                "loss": loss,
                "method": method,
                "activation": activation,
                "factors": len(members),
                "constant": CONSTANTS[loss],
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
                "worst": max(d.difference for d in members),
            }
        )
    return rows


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print the summary."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Our factors beside BackPACK's, float64")
    for column in ("loss", "method", "activation", "factors", "constant", "G ratio", "worst"):
        table.add_column(column, justify="left" if column in ("loss", "method") else "right")
    for row in rows:
        table.add_row(
            str(row["loss"]),
            str(row["method"]),
            str(row["activation"]),
            str(row["factors"]),
            f"{row['constant']:g}",
            f"{row['ratio_low']:.10g} to {row['ratio_high']:.10g}",
            f"{row['worst']:.1e}",
        )
    Console().print(table)


def main(
    python: Annotated[
        str | None, typer.Option(help="Interpreter for BackPACK's environment.")
    ] = None,
    environment: Annotated[
        Path | None, typer.Option(help="Folder of BackPACK's environment.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The JSON file.")] = OUTPUT,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
) -> None:
    """Compare the KFRA and KFLR factors with BackPACK's."""
    cases = list(all_cases(seed))
    theirs, versions = backpack_factors(cases, python, environment)
    differences = [difference for case in cases for difference in compare(case, theirs)]
    rows = summary(differences)
    print_table(rows)
    worst = max(difference.difference for difference in differences)
    agree = worst <= TOLERANCE
    record = {
        "machine": kfgn.machine_record(),
        "backpack": versions,
        "constants": CONSTANTS,
        "tolerance": TOLERANCE,
        "worst": worst,
        "summary": rows,
        "differences": [asdict(difference) for difference in differences],
    }
    print(f"Wrote {write_json(output, record)}")
    print(
        f"{'All' if agree else 'NOT all'} {len(differences)} factors agree to {TOLERANCE:g} "
        f"(worst {worst:.1e}); our G over BackPACK's: "
        + ", ".join(f"{value:g} for {loss}" for loss, value in CONSTANTS.items())
    )
    if not agree:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
