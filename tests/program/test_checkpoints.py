import errno
import os
import pickle

import numpy as np
import pytensor
import pytest
from safetensors.numpy import save_file

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.checkpoints import (
    Checkpoint,
    assign_parameters,
    load_parameters,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)

STATE = {
    "parameters/W1": np.arange(6, dtype=np.float32).reshape(2, 3),
    "parameters/b1": np.zeros(3, np.float32),
    "rule/t": np.array(7, np.int64),
}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def write(run, update: int = 1, keep: int = 3, state=STATE):
    header = {"counters": {"update": update}, "seed": 0}
    return write_checkpoint(run, Checkpoint(header, state), keep)


def test_what_is_written_is_read(run):
    found = read_checkpoint(write(run, 5))
    assert found.header == {"format": "kfgn-checkpoint-1", "counters": {"update": 5}, "seed": 0}
    assert found.state.keys() == STATE.keys()
    for name, value in STATE.items():
        assert found.state[name].dtype == value.dtype
        np.testing.assert_array_equal(found.state[name], value)


def test_arrays_of_any_layout_are_written(run):
    turned = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.arange(10.0)[::3]}
    found = read_checkpoint(write(run, state=turned)).state
    for name, value in turned.items():
        np.testing.assert_array_equal(found[name], value)


def test_the_newest_are_kept_and_drafts_are_not(run):
    draft = run / "checkpoints" / "update-00000009.safetensors.draft"
    draft.write_bytes(b"half")
    paths = [write(run, update, keep=2) for update in (1, 2, 10)]
    assert sorted((run / "checkpoints").iterdir()) == paths[1:]
    assert newest_checkpoint(run) == paths[2]


def test_no_altered_byte_goes_unseen(run, rng):
    path = write(run)
    content = path.read_bytes()
    places = rng.choice(len(content), size=min(len(content), 400), replace=False)
    for place in places:
        altered = bytearray(content)
        altered[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(altered)
        with pytest.raises(CheckpointError, match=r"altered|foreign"):
            read_checkpoint(path)


def test_no_truncation_goes_unseen(run):
    path = write(run)
    content = path.read_bytes()
    for length in [0, 1, 7, 8, 100, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="truncated, altered"):
            read_checkpoint(path)


def test_foreign_files_are_refused(run):
    path = run / "checkpoints" / "update-00000001.safetensors"
    save_file({"a": np.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="foreign: a safetensors file, but not a checkpoint"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_checkpoint(path)


def test_the_newest_older_one_that_is_whole_is_offered(run):
    paths = [write(run, update) for update in (1, 2, 3)]
    for path in paths[1:]:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match=r"--from update-00000001\.safetensors"):
        read_checkpoint(paths[2])
    paths[0].write_bytes(b"")
    with pytest.raises(CheckpointError, match="No older checkpoint is intact"):
        read_checkpoint(paths[2])


def test_a_full_disk_leaves_the_older_ones(run, monkeypatch):
    kept = write(run, 1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="The disk is full: make room"):
        write(run, 2)
    assert list((run / "checkpoints").iterdir()) == [kept]
    assert read_checkpoint(kept).header["counters"]["update"] == 1


def test_parameters_are_loaded_into_numpy(run):
    write(run, 1)
    path = write(run, 2, state={**STATE, "parameters/b1": np.ones(3, np.float32)})
    for place in (run, path):
        found = load_parameters(place)
        assert found.keys() == {"W1", "b1"}
        assert found["b1"].tolist() == [1, 1, 1]


def test_a_run_without_checkpoints_has_no_parameters(run):
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        load_parameters(run)


def test_shared_variables_get_their_values():
    weight = pytensor.shared(np.zeros((2, 3), np.float32), name="W1")
    values = {"W1": np.ones((2, 3), np.float32), "other": np.zeros(1)}
    assign_parameters([weight], values)
    values["W1"][:] = 5
    assert weight.get_value().tolist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("W2", np.zeros(2), "no value for W2"),
        (None, np.zeros(2), "a variable without a name"),
        ("W1", np.zeros(3), r"W1 is float64 \(3,\), but its value is float64 \(2,\)"),
        ("W1", np.zeros(2, np.float32), "W1 is float32"),
    ],
)
def test_variables_that_do_not_fit_change_nothing(name, value, message):
    good = pytensor.shared(np.zeros(2), name="W0")
    bad = pytensor.shared(value, name=name)
    with pytest.raises(CheckpointError, match=message):
        assign_parameters([good, bad], {"W0": np.ones(2), "W1": np.ones(2)})
    assert good.get_value().tolist() == [0, 0]
