"""What an update keeps, exactly, and what it moves through memory, roughly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kfgn_graph.program.explanation.operations import Counter, Part

VECTORS = ("parameters", "previous", "averages", "solution")
"""What is kept once for each parameter, where it is kept at all."""
FORWARD, BACKWARD, TANGENT, COLUMN, MEAN = 3, 4, 4, 4, 2
"""Reads and writes of all pre-activations: of a forward pass, of a backward pass, of carrying one
direction forward or one column back, and of the mean of b b^T."""


def kept_by_layer(state: Mapping[str, np.ndarray], counter: Counter, itemsize: int) -> list[int]:
    """Return the bytes that persist for each layer: parameters, and all that is kept for them.

    Parameters
    ----------
    state : mapping
        Of a second-order step.
    counter : Counter
        Has the layers.
    itemsize : int
        Bytes of a number.
    """
    vectors = sum(any(name.startswith(f"{kind}/") for name in state) for kind in VECTORS)
    kept = []
    for layer in counter.layers:
        places = tuple(f"{kind}/{layer.name}/" for kind in ("factors", "inverses"))
        blocks = sum(v.nbytes for name, v in state.items() if name.startswith(places))
        kept.append(blocks + vectors * itemsize * layer.q * layer.outputs)
    return kept


def kept_in_all(state: Mapping[str, np.ndarray]) -> int:
    """Return the bytes of all that persists."""
    return sum(v.nbytes for v in state.values())


def traffic(counter: Counter, kept: int, itemsize: int) -> Part:
    """Return the bytes that an update reads and writes: all that persists, and activations."""
    spec = counter.spec
    units = sum(layer.positions * layer.outputs for layer in counter.layers)
    passes = float(FORWARD + BACKWARD)
    if not spec.method.first_order:
        passes += _of_the_model(counter) + _of_the_curvature(counter)
    return Part("memory traffic", "memory", (2.0 * kept + passes * itemsize * spec.batch * units,))


def _of_the_model(counter: Counter) -> float:
    spec, step = counter.spec, counter.spec.step
    adaptive = spec.damping.rule == "levenberg-marquardt"
    if step.length is not None:
        return adaptive * (TANGENT + FORWARD / spec.damping.every)
    directions = min(step.groups, len(counter.layers)) + step.momentum
    share = min(step.examples or spec.batch, spec.batch) / spec.batch
    return share * (directions * TANGENT + FORWARD) + adaptive * FORWARD


def _of_the_curvature(counter: Counter) -> float:
    spec = counter.spec
    carried = {
        "kfra": float(MEAN),
        "kflr": float(COLUMN * counter.columns),
        "kfac": float(COLUMN * spec.method.samples),
    }
    if spec.method.name == "hessianfree":
        return 2.0 * TANGENT * counter.conjugate_steps
    return carried[spec.method.name] / spec.schedule.factors_every
