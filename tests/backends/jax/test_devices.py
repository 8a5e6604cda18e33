"""A batch divided over two devices gives the update of an undivided one."""

import os
import subprocess
import sys

import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from tests.step.test_linear_regression import column_model

pytestmark = pytest.mark.thorough

PROGRAM = """
import numpy as np, pytensor, pytensor.tensor as pt
import kfgn_graph as kfgn

def trained(devices):
    rng = np.random.default_rng(0)
    W, V = (pytensor.shared(rng.normal(size=s), name=n) for n, s in (("W", (5, 4)), ("V", (4, 5))))
    x = pt.matrix("x")
    loss = ((pt.tanh(x @ W) @ V - x) ** 2).sum(axis=1).mean()
    update = kfgn.compile_update(
        loss, [W, V], [x], backend="jax", devices=devices, damping=kfgn.ConstantDamping(0.1)
    )
    for _ in range(3):
        update(rng.normal(size=(8, 5)))
    return update, W

(one, _), (two, W) = trained(None), trained(2)
assert len(two.device_parameters()["W"].sharding.device_set) == 2
other = two.state()
for name, value in one.state().items():
    np.testing.assert_allclose(other[name], value, rtol=1e-9, atol=1e-12)
try:
    two(np.ones((7, 5)))
except kfgn.BatchError as error:
    assert "divided evenly" in str(error)
    print("agreed")
"""


def test_two_devices_agree_with_one() -> None:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | flags,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() == "agreed", run.stderr


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_devices_that_are_not_there(backend: str) -> None:
    x, y = pt.matrix("x"), pt.vector("y")
    z, w, b = column_model(x)
    with pytest.raises(kfgn.BackendError, match="devices=999"):
        kfgn.compile_update(((z - y) ** 2).mean(), [w, b], [x, y], backend=backend, devices=999)
