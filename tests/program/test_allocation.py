"""Freed memory that stays, counted by the system's page faults."""

import sys
from pathlib import Path

import pytest

from kfgn_graph.program.allocation import DECIDED, keep_freed_memory
from tests.harness import printed_apart

FAULTS = """
import resource
import numpy as np
from kfgn_graph.program.allocation import keep_freed_memory

def faults_of_an_array():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(2**26, np.uint8)[:] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
faults_of_an_array()
print(kept, faults_of_an_array())
"""


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a user has said of memory."""
    for name in DECIDED:
        monkeypatch.delenv(name, raising=False)


def faults(folder: Path) -> tuple[str, int]:
    """Return whether memory is kept, and the page faults of an array where one was before."""
    ((kept, count),) = printed_apart(FAULTS, folder)
    return kept, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's, on Linux")
def test_an_array_takes_the_pages_of_the_one_before(tmp_path: Path) -> None:
    assert faults(tmp_path) == ("True", pytest.approx(0, abs=50))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's, on Linux")
def test_a_user_who_has_decided_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1048576")
    kept, count = faults(tmp_path)
    assert kept == "False"
    assert count > 100  # of pages, which may be great ones


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
