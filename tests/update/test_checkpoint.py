"""Saved states of other settings, or with a damaged byte, are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from safetensors.numpy import save_file

import kfgn_graph as kfgn
from kfgn_graph.update.checkpoint import read_state
from kfgn_graph.update.persistence import SavedState
from tests.stepping import assert_identical


def built(dtype: str = "float64", width: int = 4, **settings: Any) -> kfgn.Update:
    """Return an update, which is not compiled before its first call."""
    rng = np.random.default_rng(0)
    x, y = (pt.tensor(n, dtype=dtype, shape=(None, d)) for n, d in (("x", 3), ("y", 2)))
    W, V = (
        pytensor.shared(rng.normal(size=s).astype(dtype), name=n, shape=s)
        for n, s in (("W", (3, width)), ("V", (width, 2)))
    )
    loss = ((pt.tanh(x @ W) @ V - y) ** 2).mean()
    return kfgn.compile_update(loss, [W, V], [x, y], backend="jax", **settings)


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({"method": kfgn.KFRA()}, {"method": kfgn.KFLR()}, r"method is KFRA\(\).*KFLR\(\)"),
        ({"method": kfgn.KFAC()}, {"method": kfgn.KFLR()}, "method"),
        ({}, {"method": kfgn.KFRA(sharing="reduce")}, r"KFRA\(reduce\)"),
        ({}, {"inverse": "newton-schulz"}, r"inverse is Cholesky\(\).*NewtonSchulz\(\)"),
        ({"inverse": "eigh"}, {"inverse": "exact"}, r"Eigenbasis\(\).*Eigenbasis\(exact\)"),
        ({}, {"damping": kfgn.ConstantDamping(0.1)}, r"unknown \['damping'"),
        ({}, {"dtype": "float32"}, "parameters/W is float64.*float32"),
        ({}, {"width": 5}, r"parameters/W is float64 \(3, 4\), but float64 \(3, 5\)"),
    ],
)
@pytest.mark.parametrize("way", ["state", "file"])
def test_a_state_of_other_settings_is_refused(
    there: dict[str, Any], here: dict[str, Any], words: str, way: str, tmp_path: Path
) -> None:
    saved, update = built(**there), built(**here)
    before = update.state()
    with pytest.raises(kfgn.CheckpointError, match=words):
        if way == "state":
            update.load_state(saved.state())
        else:
            saved.save(tmp_path / "state")
            update.load(tmp_path / "state")
    assert_identical(update.state(), before)


def test_settings_that_change_no_meaning_may_differ() -> None:
    saved, update = built(), built(l2=0.1, curvature_decay=0.9, refresh_every=3, seed=5)
    update.load_state(saved.state())
    update.load_state({name: np.array(a) for name, a in saved.state().items()})


def test_a_file_without_record_and_checksum_loads(tmp_path: Path) -> None:
    saved, update = built(), built()
    changed = {name: np.asarray(a + a.dtype.type(1)) for name, a in saved.state().items()}
    save_file(changed, tmp_path / "old", {"format": "kfgn_graph-1"})
    update.load(tmp_path / "old")
    assert_identical(update.state(), changed)


def test_a_state_of_an_earlier_version_takes_defaults(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    saved, update = built(), built()
    saved(x, y), saved(x, y), update(x, y)
    state = saved.state()
    assert {"failed", "watch", "length"} <= state.keys()
    old = {k: a for k, a in state.items() if k not in ("failed", "watch", "length")}
    save_file(old, tmp_path / "old", {"format": "kfgn_graph-1"})
    update.load(tmp_path / "old")
    assert_identical(update.state(), {**state, "failed": 0, "watch": 50, "length": 0.0})
    assert update(x, y).loss == pytest.approx(saved(x, y).loss, rel=1e-12)
    del state["failed"]
    update.load_state(state)
    assert update.state()["failed"] == 0
    for missing in ("watch", "count", "previous/W"):
        with pytest.raises(kfgn.CheckpointError, match=rf"missing \['{missing}'\]"):
            update.load_state(
                SavedState({k: state[k] for k in state if k != missing}, state.settings)
            )
    with pytest.raises(kfgn.CheckpointError, match=r"missing \['count'\]"):
        update.load_state({k: state[k] for k in state if k != "count"})


def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    saved, path = built(width=2), tmp_path / "state"
    saved.save(path)
    state, data = saved.state(), path.read_bytes()
    refused = 0
    for k in range(len(data)):
        path.write_bytes(data[:k] + bytes([data[k] ^ 0x11]) + data[k + 1 :])
        try:
            found = read_state(path)
        except kfgn.CheckpointError:
            refused += 1
        else:  # a blank that pads the header
            assert_identical(found, state)
            assert found.settings == state.settings
    assert refused > len(data) - 8
