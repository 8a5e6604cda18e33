"""Classification of elementwise terms by their second derivatives at probe points.

The second derivative of a squared error is constant in z. The second derivative of a Bernoulli
cross-entropy of logits z is proportional to sigma(z) (1 - sigma(z)).
"""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode
from pytensor.gradient import grad
from pytensor.graph.basic import Constant, Variable
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.terms import ElementwiseTerm

N_PROBES = 16


PROBE_TOLERANCE = 1e-6


def classify(term: ElementwiseTerm, z: TensorVariable) -> tuple[str, float]:
    """Classify the second derivative of a term.

    Returns
    -------
    kind : {'none', 'constant', 'logistic', 'other'}
        Zero; constant in z; proportional to sigma(z) (1 - sigma(z)); or none of these.
    factor : float
        For 'logistic' the factor of sigma(z) (1 - sigma(z)), else 0.
    """
    if term.value is z:
        return "none", 0.0
    points, at = _probe_values(z, seed=1)
    curvature = [_second_derivative(term, z, at, seed) for seed in (2, 3)]
    if any(not np.all(np.isfinite(c)) for c in curvature):
        return "other", 0.0
    spread = max(np.ptp(c) for c in curvature)
    size = max(np.abs(c).max() for c in curvature)
    if size < PROBE_TOLERANCE:
        return "none", 0.0
    if _constant_in_z(term, z):
        return "constant", 0.0
    logistic = np.exp(-points) / (1 + np.exp(-points)) ** 2
    ratios = np.concatenate([(c / logistic).ravel() for c in curvature])
    if np.ptp(ratios) < PROBE_TOLERANCE * np.abs(ratios).max() and spread > PROBE_TOLERANCE * size:
        return "logistic", float(np.median(ratios))
    return "other", 0.0


def _probe_values(variable: Variable, seed: int) -> tuple[np.ndarray, TensorVariable]:
    """Return probe values for a variable, as an array and as a constant."""
    rng = np.random.default_rng(seed)
    shape = (N_PROBES,)
    if variable.type.dtype == "bool":
        values = rng.integers(0, 2, shape).astype(bool)
    elif "int" in variable.type.dtype:
        values = rng.integers(1, 4, shape)
    elif seed == 1:
        values = np.linspace(-2.3, 2.1, N_PROBES)
    else:
        values = rng.uniform(0.1, 0.9, shape)
    return values, pt.constant(values)


def _second_derivative(
    term: ElementwiseTerm,
    z: TensorVariable,
    at: TensorVariable,
    seed: int,
    hold_leaves: bool = False,
) -> np.ndarray:
    """Evaluate e''(z) at probe points, with random values for all other leaves of the term."""
    probe = at.type()
    replacements: dict[Variable, Variable] = {z: probe}
    for leaf in _leaves(term, z):
        values, constant = _probe_values(leaf, seed)
        if hold_leaves:
            constant = pt.constant(np.full_like(values, values[0]))
        replacements[leaf] = constant
    e = _rebuilt(term, replacements)
    first = grad(e.sum(), probe, disconnected_inputs="ignore")
    second = grad(first.sum(), probe, disconnected_inputs="ignore")
    mode = Mode(linker="py", optimizer=None)
    return np.asarray(
        pytensor.function([probe], second + pt.zeros_like(probe), mode=mode)(at.data)
    )


def _constant_in_z(term: ElementwiseTerm, z: TensorVariable) -> bool:
    """Return whether e'' is the same at all z while all other leaves are held fixed."""
    _, at = _probe_values(z, seed=1)
    held = _second_derivative(term, z, at, seed=2, hold_leaves=True)
    return bool(np.ptp(held) <= PROBE_TOLERANCE * np.abs(held).max())


def _leaves(term: ElementwiseTerm, z: Variable) -> list[Variable]:
    """Return the variables other than z and scalar constants from which the term is computed."""
    made = {node.outputs[0] for node in term.nodes} | {z}
    entrywise = [node for node in term.nodes if isinstance(node.op, Elemwise)]
    read = dict.fromkeys(v for node in entrywise for v in node.inputs)
    return [
        v for v in read if v not in made and not (isinstance(v, Constant) and v.data.size == 1)
    ]


def _rebuilt(term: ElementwiseTerm, replacements: dict[Variable, Variable]) -> TensorVariable:
    """Rebuild the term in double precision with its leaves replaced."""
    memo: dict[Variable, Variable] = dict(replacements)
    for node in term.nodes:
        if isinstance(node.op, Elemwise):
            inputs = [memo[v] if v in memo else _as_double(v) for v in node.inputs]
            memo[node.outputs[0]] = node.op(*inputs)
        else:
            memo[node.outputs[0]] = memo[node.inputs[0]]
    return memo[term.value]


def _as_double(constant: Constant) -> Variable:
    if constant.type.dtype.startswith("float"):
        return pt.constant(constant.data.astype("float64"))
    return constant
