import errno
import os

import pytest

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.storage import locked, write_safely, written


def test_a_file_is_written_over(tmp_path):
    path = tmp_path / "a"
    write_safely(path, b"one")
    write_safely(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_stays_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_safely(path, b"one")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        write_safely(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "read-only: choose another folder"),
        (errno.EACCES, "change the permissions"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_errors_of_the_system_have_a_remedy(tmp_path, number, remedy):
    with pytest.raises(CheckpointError) as caught, written(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path / "a") in str(caught.value)
    assert remedy in str(caught.value)


def test_a_lock_is_held_once_and_let_go(tmp_path):
    with locked(tmp_path / "lock"):
        with pytest.raises(CheckpointError, match="another process"), locked(tmp_path / "lock"):
            pass
    with locked(tmp_path / "lock"):
        pass
