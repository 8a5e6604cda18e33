"""Draw random networks as users write them, and compare what the compiler finds with NumPy.

A graph has to be refused by one of the errors of the package, or to be accepted with the loss,
the gradient and the curvature that :mod:`experiments.fuzzing.graphs_judge` computes.
``python -m experiments.fuzzing.graphs --count N --seed S``; ``--only K`` shows graph K alone.
"""

import argparse
import gc
import json
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import kfgn_graph as kfgn
from experiments.fuzzing.graphs_cases import Case, draw_case
from experiments.fuzzing.graphs_comparison import Fault, compared, inexact, overflows
from experiments.fuzzing.graphs_training import trained
from experiments.records import write_json


def main() -> None:
    """Run the fuzzer; exit with 1 if a fault was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first number")
    parser.add_argument("--only", type=int, help="show the graph of one number")
    parser.add_argument("--backend", help="with --only: train on this backend")
    parser.add_argument("--train-every", type=int, default=20, help="0 trains no graph")
    parser.add_argument("--output", type=Path, default=Path("experiments/output/fuzz"))
    options = parser.parse_args()
    if options.only is not None:
        case = draw_case(options.seed, options.only)
        print(case.describe(), judged(case, options.backend or ""), sep="\n")
        return
    began = time.perf_counter()
    outcomes = fuzz(
        range(options.first, options.first + options.count),
        options.seed,
        options.output,
        options.train_every,
    )
    record = {
        "count": options.count,
        "first": options.first,
        "seed": options.seed,
        "outcomes": dict(outcomes.most_common()),
        "seconds": time.perf_counter() - began,
        "machine": kfgn.machine_record(),
    }
    path = write_json(options.output / f"graphs-{options.seed}-{options.first}.json", record)
    print(json.dumps(record["outcomes"], indent=1), path, sep="\n")
    sys.exit(any(outcome.startswith("FAULT") for outcome in outcomes))


def fuzz(numbers: range, seed: int, output: Path, train_every: int) -> Counter[str]:
    """Return the number of graphs by outcome; write those with a fault to a folder."""
    outcomes: Counter[str] = Counter()
    gc.disable()  # cyclic collection takes a third of the time
    for number in numbers:
        if number % 50 == 0:
            gc.collect()
        case = draw_case(seed, number)
        backend = ""
        if train_every and number % train_every == 0:
            backend = backend_of(number // train_every)
        outcome, *details = judged(case, backend).split("\n", 1)
        outcomes[outcome] += 1
        if outcome.startswith("FAULT"):
            output.mkdir(parents=True, exist_ok=True)
            place = output / f"graphs-{seed}-{number}.txt"
            place.write_text("\n".join([outcome, case.describe(), *details]), "utf-8")
            print(number, outcome, flush=True)
        elif number % 500 == 499:
            print(number + 1, dict(outcomes.most_common()), flush=True)
    return outcomes


def backend_of(turn: int) -> str:
    """Return the backend of a graph to train: mostly Python's, which compiles at once."""
    if turn % 60 == 59:
        return "numba"
    if turn % 60 == 29:
        return "c"
    return "jax" if turn % 6 == 5 else "python"


#: The outcome of a graph whose loss or gradient is not finite without the package, too.
NOT_FINITE = "accepted, not finite in PyTensor either"
#: The outcome of a graph whose gradient by PyTensor, without the package, is all rounding.
INEXACT = "accepted, inexact in PyTensor as well"


def judged(case: Case, backend: str) -> str:
    """Return the outcome of a graph, with details on further lines.

    Parameters
    ----------
    case : Case
        The graph.
    backend : str
        The backend on which an accepted graph makes an update; empty for none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            outcome = compared(case)
            if backend and outcome.startswith("accepted"):
                outcome += trained(case, backend)
        except kfgn.KfgnError as error:
            return f"refused: {type(error).__name__}\n{error}"
        except Exception as error:  # whatever is not one of the package's errors is a fault
            if isinstance(error, Fault | RuntimeWarning | ValueError) and overflows(case):
                return NOT_FINITE
            if isinstance(error, Fault) and inexact(case):
                return INEXACT
            if isinstance(error, Fault):
                return f"FAULT {error}"
            where = traceback.extract_tb(error.__traceback__)[-1]
            return (
                f"FAULT {type(error).__name__} in {Path(where.filename).name}\n"
                f"{traceback.format_exc()}"
            )
    return outcome


if __name__ == "__main__":
    main()
