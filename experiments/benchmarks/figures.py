"""From the timed seconds of a case to its figures: medians, quartiles, limits, ratios."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from experiments.benchmarks.cases import Case
from experiments.benchmarks.flops import totals, update_terms
from experiments.benchmarks.memory import held, kept
from experiments.benchmarks.traffic import total_bytes, update_traffic
from experiments.peers.alternation import GEMM_SIZE

GEMM_FLOPS = 2.0 * GEMM_SIZE**3


def figures(case: Case, measured: Mapping[str, Any]) -> dict[str, object]:
    """Return the figures of a measured case.

    An update's unit is the mean of the two NumPy products around it. Median and quartiles are
    over the periods of the schedule, each phase for itself; the figure is their mean over phases.

    Parameters
    ----------
    case : Case
        What was measured.
    measured : mapping
        What :func:`experiments.peers.alternation.measure` returned.

    Returns
    -------
    dict
        ``step``, ``own`` and ``seconds`` (in NumPy's products, in the library's own, seconds),
        each median and quartiles; ``gemm`` and ``own_gemm`` the same of the products, seconds;
        ``kept_mib``, what has to be kept; ``update_mib``, what is held between updates, as
        counted, and by how much memory grows in one, as measured; ``ratio_memory``, of the two;
        then :func:`limits`.
    """
    period = case.period if measured["calls"] == 1 else 1
    gemms, owns = measured["gemm_seconds"], measured["own_gemm_seconds"]
    steps = measured["step_seconds"]
    around = [(before + after) / 2 for before, after in pairwise(gemms)]
    found = {
        "step": typical([taken / unit for taken, unit in zip(steps, around, strict=True)], period),
        "own": typical([taken / unit for taken, unit in zip(steps, owns, strict=True)], period),
        "seconds": typical(steps, period),
        "gemm": typical(gemms, 1),
        "own_gemm": typical(owns, 1),
    }
    given = case.net.sizes, case.net.batch, case.work
    needed = total_bytes(kept(*given)) / 2**20
    between = total_bytes(held(*given, case.keeps_inverses)) / 2**20
    update = between + measured["memory_update_mib"]
    memory = {"kept_mib": needed, "update_mib": update, "ratio_memory": update / needed}
    return {**found, **memory, **limits(case, found, measured["bandwidth"])}


def typical(values: Sequence[float], period: int) -> dict[str, float]:
    """Return median and quartiles over periods, their mean over phases."""
    phases = [values[phase::period] for phase in range(period)]
    quartiles = [statistics.quantiles(phase, n=4, method="inclusive") for phase in phases]
    low, median, high = (statistics.mean(column) for column in zip(*quartiles, strict=True))
    return {"low": low, "median": median, "high": high}


def limits(
    case: Case, found: Mapping[str, Mapping[str, float]], bandwidth: float
) -> dict[str, float]:
    """Return the least times of a case by operations and by bytes, and the ratios to them.

    Parameters
    ----------
    case : Case
        What was measured.
    found : mapping
        Its ``step``, ``own``, ``gemm`` and ``own_gemm``.
    bandwidth : float
        Bytes a second.

    Returns
    -------
    dict
        ``flops_full``, ``flops_half``, ``bytes``; ``limit_full``, ``limit_half``,
        ``limit_bytes`` in NumPy's products; ``ratio_full``, ``ratio_half`` to the larger of the
        operations' limit and the bytes'; ``ratio_own``, to the larger of the full limit at the
        rate of the library's own product and the bytes'.
    """
    full, half = totals(update_terms(case.net.sizes, case.net.batch, case.work))
    moved = total_bytes(update_traffic(case.net.sizes, case.net.batch, case.work))
    by_bytes = moved / bandwidth
    in_gemms = by_bytes / found["gemm"]["median"]
    in_own = by_bytes / found["own_gemm"]["median"]
    step, own = found["step"]["median"], found["own"]["median"]
    return {
        "flops_full": full,
        "flops_half": half,
        "bytes": moved,
        "limit_full": full / GEMM_FLOPS,
        "limit_half": half / GEMM_FLOPS,
        "limit_bytes": in_gemms,
        "ratio_full": step / max(full / GEMM_FLOPS, in_gemms),
        "ratio_half": step / max(half / GEMM_FLOPS, in_gemms),
        "ratio_own": own / max(full / GEMM_FLOPS, in_own),
    }
