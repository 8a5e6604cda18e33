"""Parameters of any names: nothing that belongs to one is taken for another's."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph.layers.names import unique_keys, unique_names
from tests.stepping import assert_identical

pytestmark = pytest.mark.thorough

SIZES = (3, 4, 4, 4, 4, 2)
PLAIN = ("A", "B", "C", "D", "E")
HOSTILE = [
    ("W", "W_2", "W", "W_2_2", None),
    ("net", "net/out", "net/Q", "net%2Fout", "net/Q/vectors"),
    ("\ud800", "\\ud800", "\x00\n\"'", "__metadata__", ""),
]


def compiled(names: tuple[str | None, ...], inverse: str = "eigh") -> kfgn.Update:
    """Return the update of a chain whose weights have the given names."""
    rng = np.random.default_rng(3)
    x, y = pt.matrix("x", shape=(None, SIZES[0])), pt.matrix("y", shape=(None, SIZES[-1]))
    h, params = x, []
    for name, shape in zip(names, pairwise(SIZES), strict=True):
        W = pytensor.shared(rng.normal(size=shape), name=name, shape=shape)
        h = pt.tanh(h @ W)
        params.append(W)
    return kfgn.compile_update(
        ((h - y) ** 2).mean(),
        params,
        [x, y],
        damping=kfgn.ConstantDamping(0.1),
        step=kfgn.Rescaling(examples=None),
        inverse=inverse,
        average_iterates=True,
        backend="jax",
    )


def batches(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(4)
    return [
        (rng.normal(size=(6, SIZES[0])), rng.normal(size=(6, SIZES[-1]))) for _ in range(count)
    ]


@pytest.mark.parametrize(
    "names", [HOSTILE[0], *(pytest.param(names, marks=pytest.mark.slow) for names in HOSTILE[1:])]
)
def test_names_change_nothing_of_training_and_resuming(
    names: tuple[str | None, ...], tmp_path: Path
) -> None:
    plain, named, resumed = compiled(PLAIN), compiled(names), compiled(names)
    path = tmp_path / "state.safetensors"
    for k, batch in enumerate(batches(4)):
        if k == 2:
            named.save(path)
            resumed.load(path)
        for update in (plain, named, *[resumed] * (k >= 2)):
            update(*batch)
    assert_identical(resumed.state(), named.state())
    expected, found = plain.state(), named.state()
    assert len(found) == len(expected)
    for one, other in zip(plain.graph.parameters, named.graph.parameters, strict=True):
        np.testing.assert_array_equal(other.get_value(), one.get_value())
    order = [list(values.values()) for values in (plain.averaged(), named.averaged())]
    for one, other in zip(*order, strict=True):
        np.testing.assert_array_equal(other, one)


def test_a_checkpoint_of_plain_layer_names_loads() -> None:
    update = compiled(("enc/W", "dec/W", "mid", "x", "y"))
    keys = set(update.state())
    assert "parameters/enc/W" in keys
    old = {
        k.replace("enc%2FW", "enc/W").replace("dec%2FW", "dec/W"): v + 1
        for k, v in update.state().items()
    }
    assert "factors/enc/W/Q" in old
    update.load_state(old)
    assert set(update.state()) == keys
    assert_identical(dict(zip(old, update.state().values(), strict=True)), old)


def test_ordinary_names_are_kept() -> None:
    assert unique_names(["W0", "b0", None, "W0", ""]) == ["W0", "b0", "2", "W0_3", "4"]
    assert unique_names([None, "a", "a"], "layer") == ["layer0", "a", "a_2"]
    assert unique_keys(["W0", "50%"]) == ["W0", "50%"]


def test_all_names_differ() -> None:
    rng, alphabet = np.random.default_rng(0), np.array(["W", "_", "1", "2", "/", "%2F", "\udc00"])
    for _ in range(2000):
        given = ["".join(rng.choice(alphabet, rng.integers(0, 4))) for _ in range(7)]
        found = unique_names(given)
        assert len(set(found)) == len(given)
        assert len(set(unique_keys(found))) == len(given)
        assert all(name.encode() for name in found)
