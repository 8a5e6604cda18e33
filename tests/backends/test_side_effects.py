"""Importing and compiling leave the user's other functions, and the process, as they were."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.elemwise import CAReduce

import kfgn_graph as kfgn

METHODS = [kfgn.KFRA(), kfgn.KFLR(chunk_size=1), kfgn.HessianFree()]


def accumulators(fgraph: object) -> set[str]:
    """Return the dtypes that sums of a graph accumulate in, those of inner graphs included."""
    found = set()
    for node in fgraph.apply_nodes:
        if isinstance(node.op, CAReduce):
            found.add(str(node.op.acc_dtype or node.outputs[0].type.dtype))
        inner = [getattr(node.op, name, None) for name in ("true_branch", "false_branch")]
        for op in [node.op, *inner]:
            if getattr(op, "fgraph", None) is not None:
                found |= accumulators(op.fgraph)
    return found


def single_problem(rng: np.random.Generator):
    """Return a small classifier in float32, with static shapes for JAX."""
    x = pt.matrix("x", dtype="float32", shape=(8, 5))
    y = pt.vector("y", dtype="int64", shape=(8,))
    W = pytensor.shared(rng.normal(size=(5, 3)).astype("float32"), name="W", shape=(5, 3))
    loss = -pt.special.log_softmax(pt.tanh(x @ W), axis=1)[pt.arange(8), y].mean()
    return loss, W, [x, y]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_sums_are_single_in_functions_of_an_update_and_untouched_in_others(method, rng):
    loss, W, inputs = single_problem(rng)
    updates = kfgn.kfgn_updates(loss, [W], method=method, inverse="eigh", step=0.1)
    step = pytensor.function(inputs, loss, updates=updates, mode="JAX")
    step(rng.random((8, 5), dtype=np.float32), np.arange(8) % 3)
    assert {v.get_value().dtype.name for v in updates} <= {"float32", "int32"}
    assert "float64" not in accumulators(step.maker.fgraph)
    x = inputs[0]
    other = pytensor.function([x], (x * 2).sum(), mode="JAX")
    assert accumulators(other.maker.fgraph) == {"float64"}  # PyTensor's own choice


def test_choosing_c_leaves_the_configuration_and_the_environment(rng):
    x = pt.matrix("x")
    W = pytensor.shared(rng.normal(size=(3, 2)), name="W")
    before = pytensor.config.blas__ldflags, dict(os.environ)
    update = kfgn.compile_update((pt.tanh(x @ W) ** 2).sum(axis=1).mean(), [W], [x], backend="c")
    assert (pytensor.config.blas__ldflags, dict(os.environ)) == before
    update(rng.normal(size=(4, 3)))
    assert (pytensor.config.blas__ldflags, dict(os.environ)) == before


IMPORT = """
import os, pytensor
before = dict(os.environ), {k: pytensor.config.__dict__.get(k) for k in pytensor.config.__dict__}
modules = {name for name in ("jax", "numba") if name in __import__("sys").modules}
import kfgn_graph
after = dict(os.environ), {k: pytensor.config.__dict__.get(k) for k in pytensor.config.__dict__}
assert before == after, "changed on import"
loaded = {name for name in ("jax", "numba") if name in __import__("sys").modules}
assert loaded == modules, loaded - modules
"""


def test_importing_the_package_changes_no_setting_and_loads_no_backend():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
