"""Patches of pytensor-ml's convolutions on JAX: equal to the library's NumPy implementation."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn
from kfgn_graph.backends import resolve_backend

conv = pytest.importorskip("pytensor_ml.layers.conv")
pytest.importorskip("jax")
PLAIN = Mode(linker="py", optimizer=None)


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "dilation"),
    [
        ((3, 6, 5, 2), (3, 2), (1, 1), (1, 1)),
        ((2, 8, 7, 1), (2, 3), (2, 3), (1, 1)),
        ((2, 9, 9, 3), (3, 2), (2, 1), (2, 3)),
        ((4, 7, 2), (3,), (2,), (2,)),
        ((1, 4, 4, 4, 1), (2, 2, 2), (1, 2, 1), (1, 1, 2)),
    ],
)
def test_patches_and_their_gradient(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    images = pt.tensor("images", shape=shape, dtype="float64")
    patches = conv.Im2Col(kernel, stride, dilation)(images)
    weights = rng.normal(size=patches.type.shape)
    outputs = [patches, pytensor.grad((weights * patches**2).sum(), images)]
    value = rng.normal(size=shape)
    plain = pytensor.function([images], outputs, mode=PLAIN)(value)
    found = pytensor.function([images], outputs, mode=resolve_backend("jax", None).mode())(value)
    for wanted, got in zip(plain, found, strict=True):
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-13)


def test_a_convolutional_net_trains_on_jax(rng: np.random.Generator) -> None:
    X, labels = pt.tensor("X", shape=(None, 4, 4, 1), dtype="float64"), pt.lvector("labels")
    layer = conv.Conv2D("conv", in_channels=1, out_channels=3, kernel_size=2, stride=2)
    V = pytensor.shared(rng.normal(size=(12, 3)), name="V")
    for p, size in ((layer.W, (2, 2, 1, 3)), (layer.b, 3)):
        p.set_value(rng.normal(size=size))
    logits = pt.tanh(layer(X)).flatten(2) @ V
    logp = pt.special.log_softmax(logits, axis=1)
    loss = -logp[pt.arange(labels.shape[0]), labels].mean()
    update = kfgn.compile_update(loss, [layer.W, layer.b, V], [X, labels], backend="jax")
    batch = rng.normal(size=(8, 4, 4, 1)), rng.integers(3, size=8)
    stats = [update(*batch) for _ in range(6)]
    assert stats[-1].loss < 0.5 * stats[0].loss and not any(s.skipped for s in stats)
