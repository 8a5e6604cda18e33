"""The exact size of the state of an update, and an estimate of its memory traffic."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kfgn_graph.program.explanation.operations import Counter, Part

VECTORS = ("parameters", "previous", "averages", "solution")
"""The kinds of state that hold one number per parameter, if they are kept."""
FORWARD, BACKWARD, TANGENT, COLUMN, MEAN = 3, 4, 4, 4, 2
"""The number of passes over all pre-activations, as reads and writes: in a forward pass, in a
backward pass, in the propagation of one direction forward or of one column back, and in the mean
of b b^T."""


def kept_by_layer(state: Mapping[str, np.ndarray], counter: Counter, itemsize: int) -> list[int]:
    """Return the bytes that persist for each layer: its parameters and the state for them.

    Parameters
    ----------
    state : mapping
        The state of a second-order step.
    counter : Counter
        The counter, which holds the layers.
    itemsize : int
        The bytes of a number.
    """
    vectors = sum(any(name.startswith(f"{kind}/") for name in state) for kind in VECTORS)
    kept = []
    for layer in counter.layers:
        places = tuple(f"{kind}/{layer.key or layer.name}/" for kind in ("factors", "inverses"))
        blocks = sum(v.nbytes for name, v in state.items() if name.startswith(places))
        kept.append(blocks + vectors * itemsize * layer.q * layer.outputs)
    return kept


def kept_in_all(state: Mapping[str, np.ndarray]) -> int:
    """Return the bytes of the whole state."""
    return sum(v.nbytes for v in state.values())


def traffic(counter: Counter, kept: int, itemsize: int) -> Part:
    """Return the bytes that an update reads and writes: the state and the activations."""
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
